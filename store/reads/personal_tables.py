"""Tables with rows of a person, and by which columns; tables without, and why.

A row is a person's if one of these names them: their keys (with those of visitors merged into them), their runs, messages
and tasks, hashes of their addresses, their ids. `tests/architecture/test_personal_tables.py` holds that every table is in
one of both lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, Table, Text, any_, bindparam, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from store import schema as s
from store.database import SqlStatement, sql
from store.expressions import any_of

_IDS: Final = ("userId", "anonymousId", "previousId", "user")
"""The members of a call that name a person; `user` is a direct signal's."""


@dataclass(frozen=True, slots=True)
class PersonalTable:
    """A table with rows of a person. The parameters of `rows` are arrays that name the person."""

    table: Table
    rows: SqlStatement


def _personal(table: Table, *conditions: ColumnElement[bool]) -> PersonalTable:
    return PersonalTable(table, sql(select(table).where(or_(*conditions)).order_by(*table.primary_key.columns)))


def _names_person(member: str) -> ColumnElement[bool]:
    value: ColumnElement[str] = s.quarantine.c.event[member].astext
    return value == any_(bindparam("ids", type_=ARRAY(Text)))


PERSONAL: Final[tuple[PersonalTable, ...]] = (
    _personal(s.subjects, any_of(s.subjects.c.key, "keys")),
    _personal(s.identities, any_of(s.identities.c.subject_key, "keys")),
    _personal(s.claimed_fields, any_of(s.claimed_fields.c.subject_key, "keys")),
    _personal(s.members, any_of(s.members.c.person_key, "keys")),
    _personal(s.events, any_of(s.events.c.subject_key, "keys")),
    _personal(s.quarantine, *(_names_person(member) for member in _IDS)),
    _personal(s.tickets, any_of(s.tickets.c.subject_key, "keys")),
    _personal(s.outbox, any_of(s.outbox.c.recipient, "keys"), any_of(s.outbox.c.target, "runs")),
    _personal(s.lanes, any_of(s.lanes.c.recipient, "keys")),
    _personal(s.parked, any_of(s.parked.c.recipient, "keys"), any_of(s.parked.c.run, "runs")),
    _personal(s.runs, any_of(s.runs.c.id, "runs")),
    _personal(s.timeline, any_of(s.timeline.c.run, "runs")),
    _personal(s.dead_letters, any_of(s.dead_letters.c.run, "runs")),
    _personal(s.messages, any_of(s.messages.c.key, "messages")),
    _personal(s.feed, any_of(s.feed.c.message, "numbers")),
    _personal(s.clicks, any_of(s.clicks.c.message, "messages")),
    _personal(s.inbox, any_of(s.inbox.c.recipient, "keys")),
    _personal(s.checklist_items, any_of(s.checklist_items.c.recipient, "keys")),
    _personal(s.holds, any_of(s.holds.c.subject_key, "keys")),
    _personal(s.consents, any_of(s.consents.c.subject_key, "keys")),
    _personal(s.consent_log, any_of(s.consent_log.c.subject_key, "keys")),
    _personal(s.consent_requests, any_of(s.consent_requests.c.subject_key, "keys")),
    _personal(s.address_consents, any_of(s.address_consents.c.digest, "digests")),
    _personal(s.suppressions, any_of(s.suppressions.c.digest, "digests")),
    _personal(s.soft_bounces, any_of(s.soft_bounces.c.digest, "digests")),
    _personal(s.tasks, any_of(s.tasks.c.id, "tasks")),
    _personal(s.task_asks, any_of(s.task_asks.c.run, "runs"), any_of(s.task_asks.c.task_id, "own_tasks")),
    _personal(s.task_log, any_of(s.task_log.c.task_id, "tasks")),
    _personal(s.task_mirrors, any_of(s.task_mirrors.c.task_id, "tasks")),
    _personal(
        s.conversations, any_of(s.conversations.c.recipient, "keys"), any_of(s.conversations.c.message_id, "numbers")
    ),
    _personal(s.audiences, any_of(s.audiences.c.subject_key, "keys")),
    _personal(s.audience_syncs, any_of(s.audience_syncs.c.subject_key, "keys")),
)
"""In the order of an export."""

IMPERSONAL: Final[Mapping[Table, str]] = {
    s.api_keys: "keys of programs and operators",
    s.awaited_signals: "names of signals",
    s.catalogue: "the number of the published edition",
    s.catalogue_files: "files of the published catalogue",
    s.catalogue_versions: "versions of the published catalogue",
    s.clocks: "test clocks",
    s.declared_fields: "names of fields",
    s.definitions: "published journeys",
    s.feed_push: "the position of the feed's receiver",
    s.inbound_texts: "ids that a provider gave to texts, without a number or a word of them",
    s.journeys: "which definition of a journey is live",
    s.message_ids: "hashes of message ids and contents",
    s.quotas: "counts under hashes, emptied after a day at most",
    s.retention: "positions of retention",
    s.sender_refusals: "codes with which providers refuse us, and keyed hashes of domains",
    s.stops: "kill switches",
    s.sweeps: "positions of background loops",
    s.turns: "which member of a team had the last task",
}
"""Tables without rows of a person, each with what it contains."""
