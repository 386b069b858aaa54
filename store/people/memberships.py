"""Memberships: the accounts that a `group` event has put a person into, until `account_left`.

A person may belong to several. Their own row has the account that they were put into last: its fields apply where a
message is about no account.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from sqlalchemy import Text, bindparam, delete, select
from sqlalchemy.dialects.postgresql import insert

from journeys.events.inbound import StoredEvent
from journeys.fields.origins import ACCOUNT_ORIGIN, MEMBER_ORIGIN, FieldOrigin
from store.database import Connection, execute, fetch_all, sql
from store.expressions import any_of, unnest
from store.people.subjects import Subject
from store.schema import members, subjects

LEFT: Final = "account_left"
"""The signal that a person has left an account: Segment's "Account Removed User", with `context.groupId`."""

_pairs = unnest("pairs", accounts=members.c.account_key, people=members.c.person_key)
_JOIN = sql(
    insert(members)
    .from_select(["account_key", "person_key"], select(_pairs).where(_pairs.c.account_key != _pairs.c.person_key))
    .on_conflict_do_nothing()
)
_LEAVE = sql(
    delete(members).where(members.c.account_key == _pairs.c.account_key, members.c.person_key == _pairs.c.person_key)
)
_MOVE = sql(
    insert(members)
    .from_select(
        ["account_key", "person_key", "since"],
        select(members.c.account_key, bindparam("into", type_=Text), members.c.since).where(
            members.c.person_key == bindparam("gone")
        ),
    )
    .on_conflict_do_nothing()
)
_WITH_ROLE = sql(
    select(subjects.c.key)
    .join_from(members, subjects, subjects.c.key == members.c.person_key)
    .where(
        members.c.account_key == bindparam("account"),
        subjects.c.merged_into.is_(None),
        any_of(subjects.c.profile["role"].astext, "roles"),
    )
    .order_by(members.c.since, subjects.c.key)
)


async def record_memberships(connection: Connection, stored: Iterable[StoredEvent]) -> None:
    """Apply a batch's memberships, the last event of each pair; being put into another account ends nothing."""
    belongs: dict[tuple[str, str], bool] = {}
    for item in stored:
        if item.named_account and (item.event.kind == "group" or item.event.name == LEFT):
            belongs[item.named_account, item.subject_key] = item.event.name != LEFT
    for statement, joins in ((_JOIN, True), (_LEAVE, False)):
        pairs = [pair for pair, is_member in belongs.items() if is_member is joins]
        if pairs:
            accounts, people = zip(*pairs, strict=True)
            await execute(connection, statement, accounts=list(accounts), people=list(people))


async def move_to(connection: Connection, gone: str, into: str) -> None:
    """Add the user to every account of the visitor."""
    await execute(connection, _MOVE, gone=gone, into=into)


def is_newest(person: Subject, account_key: str, origin: FieldOrigin) -> bool:
    """Whether nothing newer is known of a person's membership in an account; then this is kept."""
    return _take_origin(person, MEMBER_ORIGIN + account_key, origin)


def move_to_account(person: Subject, account: Subject, origin: FieldOrigin) -> None:
    """Make the account that a person was put into last their own, by the instants of the statements."""
    if not _take_origin(person, ACCOUNT_ORIGIN, origin):
        return
    if person.account_key != account.key:
        account.member_number += 1
        account.dirty = True
        person.account_key, person.member_number, person.dirty = account.key, account.member_number, True
        person.changed.add("account")


def leave_account(person: Subject, account: Subject | None, origin: FieldOrigin) -> None:
    """Remove the account that a person has left from their row, if it is there and they have not joined it since."""
    if account is not None and person.account_key == account.key and _take_origin(person, ACCOUNT_ORIGIN, origin):
        person.account_key, person.dirty = None, True
        person.changed.add("account")


def _take_origin(person: Subject, name: str, origin: FieldOrigin) -> bool:
    """Keep an origin of a person under this name, if it is newer; whether it is."""
    if not origin.replaces(person.origins[name]):
        return False
    person.origins.record({name: origin}, person.profile, None)
    person.dirty = True
    return True


async def members_with_role(connection: Connection, account: str, roles: Sequence[str]) -> list[str]:
    """The members of an account with one of these roles, as of now, in the order in which they joined it.

    A person may be a member of several accounts.
    """
    return [row["key"] for row in await fetch_all(connection, _WITH_ROLE, account=account, roles=list(roles))]
