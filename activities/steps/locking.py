"""Recipients of a step's messages, and the subjects that the step locks.

All subjects whose gate or lane a step touches are locked at once, so that all steps lock in key order. Each function
states one rule.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from activities.dependencies import Dependencies
from journeys.decision.effects import Effect, EmittedSignal, SendMessage, WithdrawnMessages, message_key
from store.database import Connection
from store.messages import withdrawals
from store.messages.outcomes import reads_outcome
from store.people import memberships
from store.runs.projection import Run
from store.tasks import requests as task_requests

Recipients = Mapping[str, list[str]]
"""People, by the key of the message (`message_key` with no recipient)."""


async def recipients_of(connection: Connection, run: Run, effects: Iterable[Effect]) -> Recipients:
    """The recipients of each message: the run's person, or the account's members with one of its roles, as of now."""
    recipients: dict[str, list[str]] = {}
    for effect in effects:
        if isinstance(effect, SendMessage):
            is_user = run.subject_kind == "user"
            people = [run.lane] if is_user else await memberships.members_with_role(connection, run.lane, effect.roles)
            recipients[message_key(run.id, effect, "")] = people
    return recipients


async def subjects_to_lock(
    deps: Dependencies,
    connection: Connection,
    run: Run,
    effects: Sequence[Effect],
    recipients: Recipients,
    *,
    timer: bool,
) -> set[str]:
    """The keys of all subjects that a step locks; `timer`: it is compared with what was accepted before its instant."""
    keys = _for_messages(run, recipients)
    if timer:
        keys.add(run.lane)
    if any(isinstance(effect, EmittedSignal) for effect in effects):
        keys |= {key for key in (run.lane, run.account_key) if key is not None}
    keys |= await task_requests.lanes_to_lock_for_tasks(connection, run, effects)
    keys |= await _for_withdrawals(connection, run, effects)
    keys |= await _for_outcomes(deps, connection, run, effects)
    return keys


def _for_messages(run: Run, recipients: Recipients) -> set[str]:
    """The gate decides each person's messages under that person's lock, with the account that the messages are about."""
    people = {person for members in recipients.values() for person in members}
    if not people:
        return set()
    about = run.lane if run.subject_kind == "account" else None
    return people | {key for key in (about, run.account_key) if key is not None}


async def _for_withdrawals(connection: Connection, run: Run, effects: Iterable[Effect]) -> set[str]:
    """The recipients of messages to withdraw. A decision on them is made before, or sees that the state was left."""
    if not any(isinstance(effect, WithdrawnMessages) for effect in effects):
        return set()
    return {run.lane} if run.subject_kind == "user" else await withdrawals.unsettled_recipients(connection, run.id)


async def _for_outcomes(deps: Dependencies, connection: Connection, run: Run, effects: Iterable[Effect]) -> set[str]:
    """The run's own lane, if it reacts to the outcome of a message that is decided at once."""
    for effect in effects:
        if isinstance(effect, SendMessage) and await reads_outcome(
            connection, deps.catalogue, run.definition, effect.action
        ):
            return {run.lane}
    return set()
