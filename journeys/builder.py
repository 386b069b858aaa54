"""JourneyBuilder: journeys in typed Python.

A built journey equals that of the YAML, and is checked the same way:

b = JourneyBuilder("setup", topic="onboarding").enters("signed_up").goal("activated", within=timedelta(days=30))
setting_up, done = b.state("setting_up"), b.state("done", final="set_up")
setting_up.on("setup_completed", to=done).after(timedelta(days=1), do=[send("setup/first-steps")])
journey = b.build(start=setting_up)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal, Self

from journeys.language import definition as d
from journeys.language.actions import Action, Priority, VariableType
from journeys.language.builder_actions import DurationLike, assign, audience, close, emit, iso, send, task

__all__ = [
    "DurationLike",
    "JourneyBuilder",
    "ReactingBuilder",
    "StateBuilder",
    "assign",
    "audience",
    "close",
    "emit",
    "iso",
    "send",
    "task",
]


class ReactingBuilder:
    """Reactions of a state or of the journey. Repeating a trigger adds another transition to its list."""

    def __init__(self) -> None:
        self._on: dict[str, list[d.OnSignal]] = {}
        self._after: dict[str, list[d.Transition]] = {}
        self._every: dict[str, list[d.Repeat]] = {}
        self._at: list[d.Anchor] = []

    def on(
        self,
        *signals: str,
        to: StateBuilder | str | None = None,
        when: str | None = None,
        do: Sequence[Action] = (),
        lookback: DurationLike | None = None,
    ) -> Self:
        """React to each of these signals."""
        within = iso(lookback) if lookback is not None else None
        for signal in signals:
            transition = d.OnSignal(to=_name(to), when=when, do=tuple(do), lookback=within)
            self._on.setdefault(signal, []).append(transition)
        return self

    def after(
        self,
        delay: DurationLike,
        *,
        to: StateBuilder | str | None = None,
        when: str | None = None,
        do: Sequence[Action] = (),
    ) -> Self:
        """React once, so long after the visit began."""
        self._after.setdefault(iso(delay), []).append(d.Transition(to=_name(to), when=when, do=tuple(do)))
        return self

    def every(
        self,
        delay: DurationLike,
        *,
        times: int | None = None,
        to: StateBuilder | str | None = None,
        when: str | None = None,
        do: Sequence[Action] = (),
    ) -> Self:
        """React repeatedly, at most `times` times."""
        repeat = d.Repeat(to=_name(to), when=when, do=tuple(do), times=times)
        self._every.setdefault(iso(delay), []).append(repeat)
        return self

    def at(
        self,
        date: str,
        *,
        before: DurationLike | None = None,
        after: DurationLike | None = None,
        past: Literal["act", "skip", "next"] = "skip",
        every: DurationLike | None = None,
        name: str | None = None,
        to: StateBuilder | str | None = None,
        when: str | None = None,
        do: Sequence[Action] = (),
    ) -> Self:
        """React at a date of the subject, or before or after it."""
        self._at.append(
            d.Anchor(
                date=date,
                before=iso(before) if before is not None else None,
                after=iso(after) if after is not None else None,
                past=past,
                every=iso(every) if every is not None else None,
                name=name,
                to=_name(to),
                when=when,
                do=tuple(do),
            )
        )
        return self

    def _reactions(self) -> dict[str, Any]:
        return {"on": self._on, "after": self._after, "every": self._every, "at": self._at}


def _name(target: StateBuilder | str | None) -> str | None:
    return target.name if isinstance(target, StateBuilder) else target


class StateBuilder(ReactingBuilder):
    """A state; transitions take it as their target."""

    def __init__(
        self, name: str, milestone: str | None, owner: str | None, do: Sequence[Action], final: str | None
    ) -> None:
        super().__init__()
        self.name = name
        self._parts = {"milestone": milestone, "owner": owner, "do": tuple(do), "final": final}

    def build(self) -> d.State:
        """The state's model. Raises pydantic's ValidationError."""
        return d.State.model_validate({**self._parts, **self._reactions()})


class JourneyBuilder(ReactingBuilder):
    """Builds a journey; its own `on`, `after`, `every` and `at` apply in every state."""

    def __init__(
        self,
        key: str,
        *,
        title: str | None = None,
        subject: Literal["user", "account"] = "user",
        case: str | None = None,
        moment: str | None = None,
        priority: Priority = "lifecycle",
        topic: str | None = None,
        variables: Mapping[str, VariableType] | None = None,
    ) -> None:
        super().__init__()
        self._parts: dict[str, Any] = {
            "journey": key,
            "title": title,
            "subject": subject,
            "case": case,
            "moment": moment,
            "priority": priority,
            "topic": topic,
            "variables": dict(variables or {}),
        }
        self._exits: list[d.Exit] = []
        self._states: dict[str, StateBuilder] = {}

    def enters(
        self,
        *signals: str,
        when: str | None = None,
        again: Literal["never", "always"] | timedelta = "never",
        lookback: DurationLike | None = None,
        max_age: DurationLike | None = None,
    ) -> Self:
        """Signals that open a run; a timedelta allows re-entry so long after the last run ended.

        The goal keeps a run from beginning that came at most `lookback` before; what is older than `max_age` opens none.
        """
        limits = {"lookback": lookback, "max_age": max_age}
        self._parts["entry"] = d.Entry(
            on=signals,
            when=when,
            again=d.Again(after=iso(again)) if isinstance(again, timedelta) else again,
            **{name: iso(limit) for name, limit in limits.items() if limit is not None},
        )
        return self

    def hands_off(
        self,
        giver: str,
        receiver: str,
        *,
        intent: str | None = None,
        promise: str | None = None,
        owner: str | None = None,
    ) -> Self:
        """The handoff (H1) from `giver` to `receiver`, with its intent, promise and owner."""
        handoff = d.Handoff(from_=giver, to=receiver, intent=intent, promise=promise, owner=owner)
        self._parts["handoff"] = handoff
        return self

    def goal(self, *signals: str, when: str | None = None, within: DurationLike | None = None) -> Self:
        """Signals that end the run as reached."""
        self._parts["goal"] = d.Goal(on=signals, when=when, within=iso(within) if within is not None else None)
        return self

    def exit(self, *signals: str, when: str | None = None) -> Self:
        """Signals that end the run as exited."""
        self._exits.extend(d.Exit(on=signal, when=when) for signal in signals)
        return self

    def state(
        self,
        name: str,
        *,
        milestone: str | None = None,
        owner: str | None = None,
        do: Sequence[Action] = (),
        final: str | None = None,
    ) -> StateBuilder:
        """A new state; states keep the order of these calls. Raises ValueError for a name that is taken."""
        if name in self._states:
            raise ValueError(f"the state {name} exists already")
        self._states[name] = StateBuilder(name, milestone, owner, do, final)
        return self._states[name]

    def build(self, *, start: StateBuilder | str) -> d.Journey:
        """The journey's model. Raises pydantic's ValidationError; everything else is the checker's."""
        states = {name: state.build() for name, state in self._states.items()}
        return d.Journey.model_validate(
            {**self._parts, **self._reactions(), "exit": tuple(self._exits), "start": _name(start), "states": states}
        )
