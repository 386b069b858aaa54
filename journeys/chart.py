"""A published definition made runnable: conditions compiled, durations parsed, and what it reads known beforehand.

An artifact is the canonical text of `{"journey": …, "types": …}`: the definition and the types of the fields it reads
as they were when it was published. It carries all it needs, so a run decides the same next year, whatever the
tracking plan says by then; its hash is the definition's address.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from journeys import definition as d
from journeys.conditions import Condition, Kind, Lookup, compile_condition, fields_in
from journeys.durations import Duration, is_iso, parse_duration

BUILT_IN: Mapping[str, str] = {
    "journey.state": "string",
    "journey.visits": "int",
    "journey.started_at": "timestamp",
    "journey.entered_at": "timestamp",
}


@dataclass(frozen=True, slots=True, eq=False)
class Delay:
    """How long to wait: fixed, or a person's own rhythm asked when the wait begins."""

    fixed: Duration | None
    rhythm: Condition | None

    def after(self, at: datetime, lookup: Lookup) -> tuple[datetime | None, str]:
        """The due instant; or None with the reason why there is none."""
        if self.fixed is not None:
            return self.fixed.after(at), ""
        assert self.rhythm is not None  # noqa: S101 -- one of the two, by construction
        value = self.rhythm.evaluate(lookup)
        if not value.ok:
            return None, f"{self.rhythm.source}: {value.reason}"
        if value.value.total_seconds() < 0:
            return None, f"{self.rhythm.source} is negative"
        try:
            return at + value.value, ""
        except OverflowError:
            return None, f"{self.rhythm.source} reaches past the calendar"


@dataclass(frozen=True, slots=True, eq=False)
class Act:
    """One action, with what must be evaluated when it runs."""

    spec: d.Action
    name: str
    guard: Condition | None
    values: tuple[tuple[str, Condition], ...] = ()
    for_each: Condition | None = None
    expires: Delay | None = None
    sla: Delay | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Move:
    """A transition: guard, target (None is internal), actions."""

    to: str | None
    guard: Condition | None
    do: tuple[Act, ...]
    lookback: Duration | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Timer:
    """A wait of a state's visit (`s:`) or of the journey (`j:`); `order` is its place in the document."""

    id: str
    order: int
    label: str
    moves: tuple[Move, ...]
    delay: Delay | None = None
    repeats: bool = False
    times: int | None = None
    date: Condition | None = None
    before: Duration | None = None
    later: Duration | None = None
    past: str = "skip"
    every: Duration | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """A state: what it does on entry and what it reacts to. The journey's own reactions are one more."""

    name: str
    do: tuple[Act, ...]
    on: Mapping[str, tuple[Move, ...]]
    timers: tuple[Timer, ...]
    final: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Stop:
    """What ends a run from anywhere: a signal and its guard."""

    on: str
    guard: Condition | None


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """A runnable definition. `signals` are all names it can react to, `fields` all it reads by scope."""

    key: str
    hash: str
    spec: d.Journey
    types: Mapping[str, str]
    entry: tuple[Stop, ...]
    entry_again: Duration | None
    goal: tuple[Stop, ...]
    within: Duration | None
    exits: tuple[Stop, ...]
    places: Mapping[str, Place]
    everywhere: Place
    timers: Mapping[tuple[str, str], Timer]
    tasks: Mapping[str, Act]
    sends: frozenset[str]
    looked_back: frozenset[str]
    signals: frozenset[str]
    fields: Mapping[str, frozenset[str]]
    event_fields: Mapping[str, frozenset[str]]

    def kept(self, signal: str, data: Mapping[str, Any]) -> dict[str, Any]:
        """Of a signal's data, only what the definition reads (design §3): the rest never reaches a history."""
        wanted = self.event_fields.get(signal, frozenset())
        return {name: data[name] for name in data if name in wanted}

    def known(self, scope: str, values: Mapping[str, Any]) -> dict[str, Any]:
        """Of a profile, only the fields that the definition reads."""
        return {name: values[name] for name in self.fields[scope] if values.get(name) is not None}


def artifact(journey: d.Journey, types: Mapping[str, str]) -> str:
    """The canonical text that is published: the definition and the types of just what it reads."""
    wanted = set(_sources_read(journey))
    kept = {name: types[name] for name in sorted(types) if _is_read(name, wanted)}
    return json.dumps(
        {"journey": json.loads(d.canonical(journey)), "types": kept}, separators=(",", ":"), ensure_ascii=False
    )


def _is_read(name: str, wanted: set[str]) -> bool:
    scope, _, field = name.partition(".")
    return f"event.{field.rpartition('.')[2]}" in wanted if scope == "event" else name in wanted


def _sources_read(journey: d.Journey) -> Iterator[str]:
    """Every field named in any expression of the definition."""
    for source in _expressions(journey.model_dump(by_alias=True)):
        yield from fields_in(source)


def _expressions(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _expressions(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _expressions(item)


@lru_cache(maxsize=512)
def load_chart(text: str) -> Chart:
    """A chart from an artifact's text; cached by content, so a worker compiles each version once."""
    value = json.loads(text)
    return compile_chart(d.Journey.model_validate(value["journey"]), value["types"], d.content_hash(text))


def compile_chart(spec: d.Journey, types: Mapping[str, str], content: str = "") -> Chart:
    """Compile a definition that the checker has passed. Raises ConditionError or ValueError on one it has not."""
    return _Compiler(spec, types).chart(content)


class _Compiler:
    """Compiles one definition, place by place, in document order."""

    def __init__(self, spec: d.Journey, types: Mapping[str, str]) -> None:
        self.spec = spec
        self.types = dict(types) | BUILT_IN | {f"journey.{name}": kind for name, kind in spec.variables.items()}
        self.order = 0
        self.acts_seen: list[Act] = []
        self.event_reads: dict[str, set[str]] = {}
        self.field_reads: set[str] = set()

    def chart(self, content: str) -> Chart:
        spec = self.spec
        everywhere = self.place("", spec, "j")
        places = {name: self.place(name, state, "s") for name, state in spec.states.items()}
        goal = tuple(self.stop(name, spec.goal.when) for name in spec.goal.on) if spec.goal else ()
        exits = tuple(self.stop(item.on, item.when) for item in spec.exit)
        entry = tuple(self.stop(name, spec.entry.when) for name in spec.entry.on)
        again = spec.entry.again
        timers = {(place.name, timer.id): timer for place in (everywhere, *places.values()) for timer in place.timers}
        heard = set().union(everywhere.on, *(place.on for place in places.values()))
        return Chart(
            key=spec.journey,
            hash=content,
            spec=spec,
            types=self.types,
            entry=entry,
            entry_again=parse_duration(again.after) if isinstance(again, d.Again) else None,
            goal=goal,
            within=parse_duration(spec.goal.within) if spec.goal and spec.goal.within else None,
            exits=exits,
            places=places,
            everywhere=everywhere,
            timers=timers,
            tasks={act.name: act for act in self.acts_seen if isinstance(act.spec, d.Task)},
            sends=frozenset(act.name for act in self.acts_seen if isinstance(act.spec, d.Send)),
            looked_back=frozenset(
                name
                for place in (everywhere, *places.values())
                for name, moves in place.on.items()
                if any(move.lookback for move in moves)
            ),
            signals=frozenset(heard | {stop.on for stop in (*goal, *exits)}),
            fields={
                scope: frozenset(f.split(".", 1)[1] for f in self.field_reads if f.startswith(scope + "."))
                for scope in ("profile", "account")
            },
            event_fields={name: frozenset(fields) for name, fields in self.event_reads.items()},
        )

    def place(self, name: str, spec: d.Reacting, scope: str) -> Place:
        do = self.acts(spec.do, None) if isinstance(spec, d.State) else ()
        on = {signal: tuple(self.move(item, signal) for item in moves) for signal, moves in spec.on.items()}
        timers = [*self.waits(spec, scope), *self.repeats(spec, scope), *self.anchors(spec, scope)]
        return Place(name, do, on, tuple(timers), spec.final if isinstance(spec, d.State) else None)

    def waits(self, spec: d.Reacting, scope: str) -> Iterator[Timer]:
        for text, moves in spec.after.items():
            compiled = tuple(self.move(item, None) for item in moves)
            yield Timer(f"{scope}:after.{text}", self.next(), f"after {text}", compiled, delay=self.delay(text))

    def repeats(self, spec: d.Reacting, scope: str) -> Iterator[Timer]:
        for text, moves in spec.every.items():
            compiled = tuple(self.move(item, None) for item in moves)
            times = [item.times for item in moves if item.times is not None]
            yield Timer(
                f"{scope}:every.{text}",
                self.next(),
                f"every {text}",
                compiled,
                delay=self.delay(text),
                repeats=True,
                times=max(times, default=None),
            )

    def anchors(self, spec: d.Reacting, scope: str) -> Iterator[Timer]:
        for index, item in enumerate(spec.at):
            shift = f"{item.before} before " if item.before else f"{item.after} after " if item.after else "at "
            yield Timer(
                f"{scope}:at.{item.name or index}",
                self.next(),
                f"{shift}{item.date}",
                (self.move(item, None),),
                date=self.condition(item.date, None, "timestamp"),
                before=parse_duration(item.before) if item.before else None,
                later=parse_duration(item.after) if item.after else None,
                past=item.past,
                every=parse_duration(item.every) if item.every else None,
            )

    def move(self, spec: d.Transition, signal: str | None) -> Move:
        lookback = spec.lookback if isinstance(spec, d.OnSignal) else None
        return Move(
            spec.to,
            self.guard(spec.when, signal),
            self.acts(spec.do, signal),
            parse_duration(lookback) if lookback else None,
        )

    def acts(self, specs: tuple[d.Action, ...], signal: str | None) -> tuple[Act, ...]:
        return tuple(self.act(spec, signal) for spec in specs)

    def act(self, spec: d.Action, signal: str | None) -> Act:
        expressions = spec.set if isinstance(spec, d.Set) else getattr(spec, "data", {})
        for_each = spec.for_each if isinstance(spec, d.Emit) else None
        expires = spec.expires if isinstance(spec, d.Send) else None
        sla = spec.sla if isinstance(spec, d.Task) else None
        compiled = Act(
            spec,
            d.action_name(spec),
            self.guard(spec.when, signal),
            tuple((name, self.condition(source, signal, "value")) for name, source in expressions.items()),
            self.condition(for_each, signal, "list") if for_each else None,
            self.delay(expires) if expires else None,
            self.delay(sla) if sla else None,
        )
        self.acts_seen.append(compiled)
        return compiled

    def stop(self, signal: str, when: str | None) -> Stop:
        return Stop(signal, self.guard(when, signal))

    def guard(self, source: str | None, signal: str | None) -> Condition | None:
        return self.condition(source, signal, "bool") if source is not None else None

    def delay(self, text: str) -> Delay:
        if is_iso(text):
            return Delay(parse_duration(text), None)
        return Delay(None, self.condition(text, None, "duration"))

    def condition(self, source: str, signal: str | None, kind: Kind) -> Condition:
        types: Mapping[str, str] = self.types
        if signal is not None:
            prefix = f"event.{signal}."
            types = {**types, **{f"event.{k[len(prefix):]}": v for k, v in types.items() if k.startswith(prefix)}}
        compiled = compile_condition(source, types, kind)
        for field, _ in compiled.reads:
            if field.startswith("event.") and signal is not None:
                self.event_reads.setdefault(signal, set()).add(field[6:])
            else:
                self.field_reads.add(field)
        return compiled

    def next(self) -> int:
        self.order += 1
        return self.order
