"""Decisions and verdicts of a test clock, group by group, in order.

Names are external ids, so the lines compare with those of the in-memory world (`journeys/simulation/simulator.py`). On a clock one
transaction of a group follows another, so the real instants of its rows are in order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, bindparam, func, not_, select

from journeys.gate.status import MEANINGS, Status
from journeys.simulation.simulator import ComparableLine
from store.clocks.groups import Group, read_groups
from store.database import Connection, fetch_all, sql
from store.messages.digests import IS_DIGEST
from store.rows import loaded
from store.schema import feed, identities, messages, runs, subjects, timeline

GATE_KINDS: Final = ("gate", "withdrawn")
"""Lines of a run's timeline that repeat a verdict of the feed."""
ClockMoment = tuple[int, datetime]
"""The last line of the feed that was written until an instant of the clock, and that instant."""

_NAMES = sql(
    select(subjects.c.key, subjects.c.merged_into, identities.c.kind, identities.c.value)
    .outerjoin_from(subjects, identities, identities.c.subject_key == subjects.c.key)
    .where(subjects.c.clock == bindparam("clock"))
    .order_by(identities.c.kind.desc(), identities.c.value)
)
_DECISIONS = sql(
    select(
        timeline.c.recorded_at,
        runs.c.journey,
        runs.c.subject_key,
        runs.c.case_key,
        runs.c.epoch,
        timeline.c.at,
        timeline.c.kind,
        timeline.c.about,
        timeline.c.text,
    )
    .join_from(timeline, runs, runs.c.id == timeline.c.run)
    .where(runs.c.clock == bindparam("clock"), timeline.c.kind.not_in(GATE_KINDS))
    .order_by(timeline.c.recorded_at, timeline.c.run, timeline.c.step, timeline.c.n)
)
_ends_attempt = and_(feed.c.was.in_((Status.SENDING, Status.MERGED)), not_(feed.c.decided))
_VERDICTS = sql(
    select(
        feed.c.id,
        feed.c.at.label("recorded_at"),
        feed.c.status,
        feed.c.channel,
        feed.c.until,
        feed.c.reasons,
        messages.c.key,
        messages.c.recipient,
        runs.c.journey,
        runs.c.subject_key,
        runs.c.case_key,
        runs.c.epoch,
        func.coalesce(messages.c.settled_at, messages.c.decided_at).label("settled_at"),
        (func.max(feed.c.id).over(partition_by=feed.c.message) == feed.c.id).label("is_last"),
    )
    .join_from(feed, messages, messages.c.id == feed.c.message)
    .join(runs, runs.c.id == messages.c.run)
    .where(messages.c.clock == bindparam("clock"), feed.c.event.is_(None), not_(IS_DIGEST), not_(_ends_attempt))
    .order_by(feed.c.id)
)


class ExternalNames:
    """External names of the subjects of a clock, and of their runs and messages, as the in-memory world has them."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._names: dict[str, str] = {}
        self._merged: dict[str, str] = {}
        for row in rows:
            if row["merged_into"] is not None:
                self._merged[row["key"]] = row["merged_into"]
            if row["value"] is not None:
                self._names.setdefault(row["key"], row["value"])

    def of(self, key: str) -> str:
        """The name of a subject; of a merged visitor that of the user."""
        while key in self._merged:
            key = self._merged[key]
        return self._names.get(key, key)

    def of_run(self, row: Mapping[str, Any]) -> str:
        """The name of a run, from its `journey`, `subject_key`, `case_key` and `epoch`."""
        return f"{row['journey']}/{self.of(row['subject_key'])}/{row['case_key'] or '-'}/{row['epoch']}"

    def of_message(self, row: Mapping[str, Any]) -> str:
        """The name of a message, from its `key` and the columns of its run."""
        request, _, recipient = str(row["key"]).partition("#")[2].rpartition(">")
        return f"{self.of_run(row)}#{request}>{self.of(recipient)}"


async def read_names(connection: Connection, clock: str) -> ExternalNames:
    """The external names of a clock's subjects."""
    return ExternalNames(await fetch_all(connection, _NAMES, clock=clock))


async def decided_lines(
    connection: Connection, clock: str, moments: Sequence[ClockMoment] | None = None
) -> Mapping[str, Sequence[ComparableLine]]:
    """Every decision and every verdict on a clock, by the name of each member of the group, in order.

    The store has the instants by the clock of each message's last verdict only; those of the others are in `moments`, if it is
    given, in order.
    """
    names, groups = await read_names(connection, clock), await read_groups(connection, clock)
    lines: dict[Group, list[tuple[datetime, ComparableLine]]] = {group: [] for group in groups.values()}
    for row in await fetch_all(connection, _DECISIONS, clock=clock):
        line = ComparableLine(names.of_run(row), row["at"], row["kind"], row["about"], row["text"])
        lines[groups[row["subject_key"]]].append((row["recorded_at"], line))
    for row in await fetch_all(connection, _VERDICTS, clock=clock):
        lines[groups[row["subject_key"]]].append((row["recorded_at"], _verdict(row, names, moments)))
    ordered = {group: [line for _, line in sorted(found, key=lambda pair: pair[0])] for group, found in lines.items()}
    return {names.of(key): ordered[group] for key, group in groups.items()}


def _verdict(row: Mapping[str, Any], names: ExternalNames, moments: Sequence[ClockMoment] | None) -> ComparableLine:
    status = Status(row["status"])
    why = "; ".join(f"{reason['code']}: {reason['text']}" for reason in loaded(row["reasons"]) or ())
    at = row["settled_at"] if row["is_last"] else None
    if moments is not None:
        at = moments[bisect_left(moments, row["id"], key=lambda moment: moment[0])][1]
    until = row["until"] if status is Status.DEFERRED else None
    return ComparableLine(names.of_message(row), at, MEANINGS[status].verdict, row["channel"] or "", why, until)
