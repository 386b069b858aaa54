"""RunState: the frozen state of a run, and its JSON form.

It is everything that a decision reads of a run's past, and it round-trips through JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from pydantic import TypeAdapter

from journeys.frozen import frozen


@dataclass(frozen=True, slots=True)
class OpenTask:
    """A task opened in the current visit; `level` counts its escalations."""

    owner: str
    level: int = 0


@dataclass(frozen=True, slots=True)
class UnconsumedSignal:
    """A signal that no transition consumed, kept because some state has a `lookback` for it."""

    name: str
    at: datetime
    data: dict[str, Any]


@frozen
class RunState:
    """Position, timers and memory of a run; under 2 KB as JSON for a shipped journey.

    Instants are aware UTC. `timers` holds absolute deadlines by timer id (`s:` of the state's visit, `j:` of the
    journey, `t:` of an open task, `goal`); a spent timer is absent. `fired` counts a repeat's firings, `firings` an
    action's, both in this visit. `anchors` has the date for which an anchor has fired (`state/s:…` for a state's).
    `facts` are JSON values by field (`profile.plan`), `seqs` the last sequence number by lane. `missed` are signals
    that no transition consumed, `held` effects (as JSON) of a pause, until its end, `waiting` those decided outside
    one that did not fit into their step.
    """

    state: str = ""
    visit: int = 0
    started_at: datetime | None = None
    entered_at: datetime | None = None
    last_at: datetime | None = None
    visits: dict[str, int] = field(default_factory=dict)
    timers: dict[str, datetime] = field(default_factory=dict)
    fired: dict[str, int] = field(default_factory=dict)
    anchors: dict[str, str] = field(default_factory=dict)
    firings: dict[str, int] = field(default_factory=dict)
    variables: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    missed: tuple[UnconsumedSignal, ...] = ()
    tasks: dict[str, OpenTask] = field(default_factory=dict)
    paused_at: datetime | None = None
    held: tuple[dict[str, Any], ...] = ()
    waiting: tuple[dict[str, Any], ...] = ()
    outcome: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether the run has not ended: signals and timers can still change it."""
        return self.outcome is None

    def next_due(self) -> datetime | None:
        """The earliest deadline, or None (`next_deadline`)."""
        return next_deadline(self)


class TimedRun(Protocol):
    """A run, as far as its deadlines go."""

    @property
    def timers(self) -> dict[str, datetime]: ...
    @property
    def last_at(self) -> datetime | None: ...
    @property
    def waiting(self) -> tuple[dict[str, Any], ...]: ...
    @property
    def paused_at(self) -> datetime | None: ...
    @property
    def outcome(self) -> str | None: ...


def next_deadline(run: TimedRun) -> datetime | None:
    """The earliest deadline of a run, or None; a paused run's timers do not fire.

    Effects that wait for a step are due at once: at the instant of the last decision.
    """
    if run.paused_at is not None or run.outcome is not None:
        return None
    return run.last_at if run.waiting else min(run.timers.values(), default=None)


_ADAPTER: TypeAdapter[RunState] = TypeAdapter(RunState)


def state_to_json(state: RunState) -> dict[str, Any]:
    """A run's state as JSON values, defaults left out."""
    dumped: dict[str, Any] = _ADAPTER.dump_python(state, mode="json", exclude_defaults=True)
    return dumped


def state_from_json(value: dict[str, Any]) -> RunState:
    """The inverse of `state_to_json`. Raises pydantic's ValidationError for anything else.

    What a run holds that is not paused waits for a step: older versions stored both in one field.
    """
    state = _ADAPTER.validate_python(value)
    if state.held and state.paused_at is None:
        return replace(state, held=(), waiting=(*state.held, *state.waiting))
    return state


def state_size(state: RunState) -> int:
    """Bytes of the state's compact JSON."""
    return len(json.dumps(state_to_json(state), separators=(",", ":"), ensure_ascii=False).encode())
