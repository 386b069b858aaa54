"""Outcomes of messages as signals in their run's lane.

`journeys/gate/status.py` names the outcomes. A message that is withdrawn because its state was left has none: the run
has left the state that would react.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any, Final

from journeys.gate.status import MEANINGS, OutcomeName, Status
from store.database import Connection
from store.definitions.registry import DefinitionRegistry
from store.errors import Contended
from store.messages import due
from store.messages.entries import LedgerEntry
from store.outbox.derived import DerivedSignal, enqueue_derived
from store.people import subjects
from store.people.subjects import Subject
from store.runs import projection

_OUTCOMES: Final = frozenset(meaning.outcome for meaning in MEANINGS.values() if meaning.outcome is not None)


async def reads_outcome(connection: Connection, catalogue: DefinitionRegistry, definition: str, action: str) -> bool:
    """Whether a chart reacts to any outcome of this action; if so, its lane is locked with the gate's other locks.

    One that this version cannot read may.
    """
    chart = await catalogue.readable(connection, definition)
    return chart is None or any(f"{action}.{outcome}" in chart.signals for outcome in _OUTCOMES)


async def lock_outcome_lanes(connection: Connection, person: str, account: str | None = None) -> dict[str, Subject]:
    """Lock a person, and every lane that may receive an outcome of their unsettled messages.

    Raises Contended if there are more of them than before the locks: retry the transaction.
    """
    return await lock_lanes_of(connection, [person], [account] if account else [])


async def lock_lanes_of(
    connection: Connection, people: Collection[str], accounts: Iterable[str] = ()
) -> dict[str, Subject]:
    """Lock people, `accounts`, and every lane that may receive an outcome of the people's unsettled messages: all at once.

    Raises Contended as `lock_outcome_lanes` does.
    """
    keys = {*people, *accounts, *await due.lanes_of_unsettled(connection, people)}
    locked = await subjects.lock_subjects(connection, keys)
    if not await due.lanes_of_unsettled(connection, people) <= keys:
        raise Contended
    return locked


async def enqueue_outcome(
    connection: Connection, catalogue: DefinitionRegistry, entry: LedgerEntry, status: Status, at: datetime
) -> None:
    """Put `<action>.<outcome>` into the run's lane, if its chart reads it, or cannot be read here."""
    outcome = MEANINGS[status].outcome
    if outcome is None:
        return
    chart = await catalogue.readable(connection, entry.definition)
    name = f"{entry.action}.{outcome}"
    if chart is not None and name not in chart.signals:
        return
    fields = chart.fields if chart is not None else {}
    row = await projection.read_run(connection, entry.run)
    event_id, data = f"{entry.key}={outcome}", _carried(entry, outcome)
    signal = DerivedSignal(row.lane, entry.run, "signal", name, event_id, at, data, fields, entry.trace)
    await enqueue_derived(connection, signal)


def _carried(entry: LedgerEntry, outcome: OutcomeName) -> dict[str, Any]:
    """The fields of the signal (`journeys/language/outcome_signals.py`).

    `channel` unless the message was withheld, `reason` unless it was sent.
    """
    carried: dict[str, Any] = {"template": entry.template}
    if outcome != "withheld":
        carried["channel"] = entry.channel
    if outcome != "sent":
        carried["reason"] = entry.reasons[0].code if entry.reasons else entry.detail or ""
    return carried
