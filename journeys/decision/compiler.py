"""A published definition made runnable: conditions compiled, durations parsed, and what it reads known beforehand.

An artifact is the canonical text of `{"journey": …, "types": …}`: the definition and the types of the fields it reads
as they were when it was published. It carries all it needs, so a run decides the same next year, whatever the
tracking plan says by then; its hash is the definition's address.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import lru_cache
from typing import Any

from journeys.calendar.durations import is_iso, parse_duration
from journeys.decision.chart import Chart, ChartTransition, CompiledAction, Delay, EndRule, StateNode, Timer
from journeys.language import definition as d
from journeys.language.actions import Action, Emit, Send, Set, Task, action_name
from journeys.language.conditions import Condition, ConditionType, compile_condition, fields_in, names_in
from journeys.language.signal_names import play_signal
from journeys.language.traversal import actions_of, expressions_of, incoming_transitions

BUILT_IN: Mapping[str, str] = {
    "journey.state": "string",
    "journey.visits": "int",
    "journey.started_at": "timestamp",
    "journey.entered_at": "timestamp",
}


def artifact_of(journey: d.Journey, types: Mapping[str, str]) -> str:
    """The canonical text that is published: the definition and the types of just what it reads."""
    wanted = set(_sources_read(journey))
    kept = {name: types[name] for name in sorted(types) if _is_read(name, wanted)}
    return json.dumps(
        {"journey": json.loads(d.canonical_json(journey)), "types": kept}, separators=(",", ":"), ensure_ascii=False
    )


def _is_read(name: str, wanted: set[str]) -> bool:
    scope, _, field = name.partition(".")
    return f"event.{field.rpartition('.')[2]}" in wanted if scope == "event" else name in wanted


def _sources_read(journey: d.Journey) -> Iterator[str]:
    """Every field named in any expression of the definition."""
    for source in _expressions(journey.model_dump(by_alias=True)):
        yield from fields_in(source)


def _needs(journey: d.Journey) -> dict[str, frozenset[str]]:
    """By message, the product state it is sent on without asking whether it is known (H8).

    That is what its own condition and data read, and what says that the journey is for this person and not over yet.
    """
    stops = [each.source for each in expressions_of(journey) if each.path[0] in {"entry", "goal", "exit"}]
    found: dict[str, frozenset[str]] = {}
    for doing in actions_of(journey):
        if isinstance(doing.action, Send):
            own = [source for source in (doing.action.when, *doing.action.data.values()) if source is not None]
            name = action_name(doing.action)
            found[name] = found.get(name, frozenset()) | {field for source in (*stops, *own) for field in _bare(source)}
    return found


def _bare(source: str) -> Iterator[str]:
    names = names_in(source)
    for name in names:
        if name.startswith(("profile.", "account.")) and f"known.{name}" not in names:
            yield name


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


def _looked_back(*places: StateNode) -> dict[str, timedelta]:
    longest: dict[str, timedelta] = {}
    for place in places:
        for name, moves in place.on.items():
            for move in moves:
                if move.lookback is not None:
                    longest[name] = max(longest.get(name, timedelta(0)), move.lookback.at_most())
    return longest


def carried_by(types: Mapping[str, str], signal: str) -> dict[str, str]:
    """The properties of a signal, with their types."""
    prefix = f"event.{signal}."
    start = len(prefix)
    return {name[start:]: kind for name, kind in types.items() if name.startswith(prefix) and "." not in name[start:]}


class _Compiler:
    """Compiles one definition, place by place, in document order."""

    def __init__(self, spec: d.Journey, types: Mapping[str, str]) -> None:
        self.spec = spec
        self.types = {**types, **BUILT_IN, **{f"journey.{name}": kind for name, kind in spec.variables.items()}}
        self.order = 0
        self.name = ""
        self.acts_seen: list[tuple[str, CompiledAction]] = []
        self.event_reads: dict[str, set[str]] = {}
        self.field_reads: set[str] = set()
        self.incoming = incoming_transitions(spec)

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
        tasks = {(place, act.name): act for place, act in self.acts_seen if isinstance(act.spec, Task)}
        sends = [(act.name, act.spec) for _, act in self.acts_seen if isinstance(act.spec, Send)]
        closed = {f"{name}.closed" for _, name in tasks}
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
            tasks=tasks,
            sends=frozenset(name for name, _ in sends),
            ways=frozenset(
                (spec.topic_of(send), spec.priority_of(send), channel) for _, send in sends for channel in send.via
            ),
            looked_back=_looked_back(everywhere, *places.values()),
            signals=frozenset(heard | closed | {stop.on for stop in (*goal, *exits)}),
            fields={
                scope: frozenset(f.split(".", 1)[1] for f in self.field_reads if f.startswith(scope + "."))
                for scope in ("profile", "account")
            },
            event_fields={
                **{name: frozenset(fields) for name, fields in self.event_reads.items()},
                play_signal(spec.journey): frozenset().union(*(self.event_reads.get(n, ()) for n in spec.entry.on)),
            },
            needs=_needs(spec),
            roles={(place, act.name): act.spec.for_ for place, act in self.acts_seen if isinstance(act.spec, Send)},
        )

    def place(self, name: str, spec: d.Reacting, scope: str) -> StateNode:
        self.name = name
        do = self.acts(spec.do, self.incoming[name], name) if isinstance(spec, d.State) else ()
        on = {signal: tuple(self.move(item, (signal,)) for item in moves) for signal, moves in spec.on.items()}
        timers = [*self.waits(spec, scope), *self.repeats(spec, scope), *self.anchors(spec, scope)]
        return StateNode(name, do, on, tuple(timers), spec.final if isinstance(spec, d.State) else None)

    def waits(self, spec: d.Reacting, scope: str) -> Iterator[Timer]:
        for text, moves in spec.after.items():
            compiled = tuple(self.move(item, ()) for item in moves)
            yield Timer(f"{scope}:after.{text}", self.next(), f"after {text}", compiled, delay=self.delay(text))

    def repeats(self, spec: d.Reacting, scope: str) -> Iterator[Timer]:
        for text, moves in spec.every.items():
            compiled = tuple(self.move(item, ()) for item in moves)
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
                (self.move(item, ()),),
                date=self.condition(item.date, (), "timestamp"),
                before=parse_duration(item.before) if item.before else None,
                later=parse_duration(item.after) if item.after else None,
                past=item.past,
                every=parse_duration(item.every) if item.every else None,
            )

    def move(self, spec: d.Transition, signals: tuple[str, ...]) -> ChartTransition:
        lookback = spec.lookback if isinstance(spec, d.OnSignal) else None
        return ChartTransition(
            spec.to,
            self.guard(spec.when, signals),
            self.acts(spec.do, signals, spec.to or self.name),
            parse_duration(lookback) if lookback else None,
        )

    def acts(self, specs: tuple[Action, ...], signals: tuple[str, ...], place: str) -> tuple[CompiledAction, ...]:
        """Actions belong to the place that they run in, which for a transition's is its target."""
        compiled = tuple(self.act(spec, signals) for spec in specs)
        self.acts_seen.extend((place, act) for act in compiled)
        return compiled

    def act(self, spec: Action, signals: tuple[str, ...]) -> CompiledAction:
        expressions = spec.set if isinstance(spec, Set) else getattr(spec, "data", {})
        for_each = spec.for_each if isinstance(spec, Emit) else None
        expires = spec.expires if isinstance(spec, Send) else None
        sla = spec.sla if isinstance(spec, Task) else None
        return CompiledAction(
            spec,
            action_name(spec),
            self.guard(spec.when, signals),
            tuple((name, self.condition(source, signals, "value")) for name, source in expressions.items()),
            self.condition(for_each, signals, "list") if for_each else None,
            self.delay(expires) if expires else None,
            self.delay(sla) if sla else None,
        )

    def stop(self, signal: str, when: str | None) -> EndRule:
        return EndRule(signal, self.guard(when, (signal,)))

    def guard(self, source: str | None, signals: tuple[str, ...]) -> Condition | None:
        return self.condition(source, signals, "bool") if source is not None else None

    def delay(self, text: str) -> Delay:
        if is_iso(text):
            return Delay(parse_duration(text), None)
        return Delay(None, self.condition(text, (), "duration"))

    def condition(self, source: str, signals: tuple[str, ...], kind: ConditionType) -> Condition:
        """Compile in the reach of the signals that lead here; what one of them does not carry is not known then."""
        carried = {signal: carried_by(self.types, signal) for signal in signals}
        events = {f"event.{name}": held for fields in carried.values() for name, held in fields.items()}
        compiled = compile_condition(source, {**self.types, **events}, kind)
        for field, _ in compiled.reads:
            if field.startswith("event.") and signals:
                for signal, fields in carried.items():
                    if field[6:] in fields:
                        self.event_reads.setdefault(signal, set()).add(field[6:])
            else:
                self.field_reads.add(field)
        return compiled

    def next(self) -> int:
        self.order += 1
        return self.order
