"""Plays: runs that an operator starts by hand, as accepted events.

A play is the event `play:<journey>` of source `operator`. It is admitted like an entry, in the same commit and by the
same rule of re-entry, but without the entry's condition, because a person has decided. Whether the run may open is
checked first, under the same locks: a refused play leaves no event behind.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import bindparam, select

from journeys.decision.chart import Chart
from journeys.decision.entry import EntryRefused, case_of
from journeys.events.inbound import InboundEvent
from journeys.language.signal_names import play_signal
from journeys.protocol import wire
from store.database import Connection, Database, fetch_one, sql
from store.definitions.registry import DefinitionRegistry, SignalIndex
from store.events import ingest
from store.events.admission import Admission
from store.people import subjects
from store.people.test_clocks import now_from_outside
from store.reads.people import SubjectKeys
from store.retry import retry_transaction
from store.schema import runs

_NEWEST = sql(
    select(runs.c.id)
    .where(
        runs.c.lane == bindparam("lane"),
        runs.c.journey == bindparam("journey"),
        runs.c.case_key == bindparam("case"),
    )
    .order_by(runs.c.epoch.desc())
    .limit(1)
)


class NoSuchPlay(Exception):
    """No journey with this key is live. The caller's turn: publish it, or correct the key."""


class WrongSubjectKind(Exception):
    """The journey is about accounts and the subject is a person, or the reverse. The caller's turn: choose another."""


class MayNotEnter(Exception):
    """The journey's entry rule refuses the subject; the message has the reason. The recipient's situation."""


async def start_play(
    database: Database,
    catalogue: DefinitionRegistry,
    subject: SubjectKeys,
    journey: str,
    *,
    by: str,
    why: str,
    data: Mapping[str, Any],
) -> str:
    """Open a run; its id. Raises NoSuchPlay, WrongSubjectKind, MayNotEnter, ClockAdvancing; then nothing is accepted."""

    async def start(connection: Connection) -> str:
        chart = _live(await catalogue.current(connection), journey)
        if chart.spec.subject != subject.kind:
            raise WrongSubjectKind
        event = InboundEvent(
            "track",
            uuid.uuid4().hex,
            play_signal(journey),
            subject_key=subject.key,
            data={**data, "by": by, "why": why},
        )
        await _may_enter(connection, catalogue, chart, event, subject)
        await ingest.accept_within(connection, catalogue, [event], source=wire.SOURCE_OPERATOR)
        case = case_of(chart, event.data)
        opened = await fetch_one(connection, _NEWEST, lane=subject.key, journey=journey, case=case)
        assert opened is not None
        return str(opened["id"])

    return await retry_transaction(database, start)


def _live(index: SignalIndex, journey: str) -> Chart:
    charts = index.opening.get(play_signal(journey))
    if not charts:
        raise NoSuchPlay
    return charts[0]


async def _may_enter(
    connection: Connection, catalogue: DefinitionRegistry, chart: Chart, event: InboundEvent, subject: SubjectKeys
) -> None:
    keys = {key for key in (subject.key, subject.account_key) if key is not None}
    locked = await subjects.lock_subjects(connection, keys)
    admission = Admission(connection, catalogue.index, locked)
    await admission.load()
    await admission.catch_up(locked[subject.key])
    at = await now_from_outside(connection, subject.clock)
    verdict = await admission.may_enter(chart, event, at, locked[subject.key], {})
    if isinstance(verdict, EntryRefused):
        raise MayNotEnter(verdict.reason)
