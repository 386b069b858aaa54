"""Occurrences of a newer version are told from arrivals that nobody can read (A5)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from journeys.decision.occurrences import Entered, Erased, Signal
from journeys.decision.state import RunState
from journeys.protocol.envelope import NewerOccurrence, Unreadable, decidable_occurrence, read_envelope
from journeys.protocol.routing import LaneRow, RunSubscription, envelope_for
from journeys.protocol.wire import KINDS, VERSION, Envelope
from tests.support.run_script import START, chart

SENT = asdict(Envelope("e1", "u_1", 4, START.isoformat(), name="ping"))
BEGUN = RunState(state="a")
A = "states: {a: {on: {ping: {do: {emit: heard}}}}}"


@pytest.mark.parametrize(
    "newer",
    [{"urgency": 3}, {"kind": "teleported"}, {"v": VERSION + 1}, {"kind": "teleported", "urgency": 3}],
    ids=["field", "kind", "version", "both"],
)
def test_A5_an_envelope_of_a_newer_version_names_its_place_in_the_lane(newer: dict[str, Any]) -> None:
    with pytest.raises(NewerOccurrence) as fault:
        read_envelope({**SENT, **newer})
    assert (fault.value.lane, fault.value.seq) == ("u_1", 4)


@pytest.mark.parametrize(
    "value",
    [
        {"urgency": 3},
        {**SENT, "seq": "4", "urgency": 3},
        {**SENT, "seq": True, "urgency": 3},
        {**SENT, "at": "soon"},
        5,
    ],
    ids=["no-place", "seq-is-text", "seq-is-true", "no-instant", "no-object"],
)
def test_what_has_no_place_in_a_lane_or_is_broken_is_unreadable_for_ever(value: Any) -> None:
    with pytest.raises(Unreadable) as fault:
        read_envelope(value)
    assert not isinstance(fault.value, NewerOccurrence)


def test_A5_an_envelope_that_a_newer_activity_returned_names_its_place_too() -> None:
    with pytest.raises(NewerOccurrence) as fault:
        decidable_occurrence(BEGUN, Envelope("e1", "u_1", 4, START.isoformat(), kind="teleported"))
    assert (fault.value.lane, fault.value.seq) == ("u_1", 4)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_kind_of_the_protocol_is_read(kind: str) -> None:
    data = {"due_at": START.isoformat(), "ask": "a.1/call.1"} if kind == "deadline" else {}
    assert decidable_occurrence(BEGUN, Envelope("e1", "u_1", 4, START.isoformat(), kind=kind, data=data)).at == START


@pytest.mark.parametrize("target", [None, "run"], ids=["lane", "one-run"])
def test_A5_no_envelope_is_made_of_a_row_of_an_unknown_kind_that_concerns_the_run(target: str | None) -> None:
    row = LaneRow("u_1", 4, "teleported", "", "e1", START, {}, None, target)
    with pytest.raises(NewerOccurrence):
        envelope_for(chart(A), RunSubscription("run", "u_1", 1, ""), row)
    assert envelope_for(chart(A), RunSubscription("run", "u_1", 5, ""), row) is None
    if target is not None:
        assert envelope_for(chart(A), RunSubscription("other", "u_1", 1, ""), row) is None


def test_A5_a_run_that_has_not_begun_decides_only_what_opens_or_ends_it() -> None:
    with pytest.raises(NewerOccurrence, match="opens the run"):
        decidable_occurrence(RunState(), Envelope("e1", "u_1", 4, START.isoformat(), name="ping"))
    assert isinstance(decidable_occurrence(BEGUN, Envelope("e1", "u_1", 4, START.isoformat(), name="ping")), Signal)
    for kind, expected in {"entered": Entered, "erased": Erased}.items():
        assert isinstance(
            decidable_occurrence(RunState(), Envelope("e1", "u_1", 4, START.isoformat(), kind=kind)), expected
        )
