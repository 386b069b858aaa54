"""Compile a definition into a Chart; write and load its artifact.

An artifact is the canonical JSON of `{"journey": …, "types": …}`: the definition and the types of the fields it reads,
as they were at publication. It contains all that a run needs, so a run decides the same next year, whatever the
tracking plan is then. Its hash is the definition's address.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from itertools import count
from typing import Any

from journeys.calendar.durations import is_iso, parse_duration
from journeys.decision.anchors import tolerance_of
from journeys.decision.chart import (
    Chart,
    ChartTransition,
    CompiledAction,
    Delay,
    EndRule,
    EntryLimits,
    StateNode,
    Timer,
    longest_lookbacks,
)
from journeys.language import definition as d
from journeys.language.actions import Action, Emit, Send, Set, Task, action_name
from journeys.language.conditions import Condition, ConditionType, compile_condition, fields_in
from journeys.language.signal_names import play_signal
from journeys.language.traversal import incoming_transitions, required_fields

BUILT_IN: Mapping[str, str] = {
    "journey.state": "string",
    "journey.visits": "int",
    "journey.started_at": "timestamp",
    "journey.entered_at": "timestamp",
}


def artifact_of(journey: d.Journey, types: Mapping[str, str]) -> str:
    """The text that is published: the definition, and of `types` (by dotted field) those that it reads."""
    texts = _texts_in(journey.model_dump(by_alias=True))
    fields_read = {field for text in texts for field in fields_in(text)}
    kept = {name: types[name] for name in sorted(types) if _is_read(name, fields_read)}
    return json.dumps(
        {"journey": json.loads(d.canonical_json(journey)), "types": kept}, separators=(",", ":"), ensure_ascii=False
    )


def _is_read(name: str, fields_read: set[str]) -> bool:
    scope, _, field = name.partition(".")
    return f"event.{field.rpartition('.')[2]}" in fields_read if scope == "event" else name in fields_read


def _texts_in(value: Any) -> Iterator[str]:
    """Every key and text of a dumped model, expressions among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts_in(item)


@lru_cache(maxsize=512)
def load_chart(text: str) -> Chart:
    """The chart of an artifact's text; cached by the text, so a worker compiles each version once."""
    artifact = json.loads(text)
    return compile_chart(d.Journey.model_validate(artifact["journey"]), artifact["types"], d.content_hash(text))


def compile_chart(spec: d.Journey, types: Mapping[str, str], content: str = "") -> Chart:
    """Compile a definition that the checker has passed; `content` is its artifact's hash.

    Raises ConditionError or ValueError for one that the checker has not passed.
    """
    return _Compiler(spec, types).chart(content)


def carried_by(types: Mapping[str, str], signal: str) -> dict[str, str]:
    """The properties of a signal with their types, out of the types of all fields (`event.<signal>.<property>`)."""
    prefix = f"event.{signal}."
    start = len(prefix)
    return {name[start:]: kind for name, kind in types.items() if name.startswith(prefix) and "." not in name[start:]}


class _Compiler:
    """Compiles one definition in document order, and collects what its conditions read."""

    def __init__(self, spec: d.Journey, types: Mapping[str, str]) -> None:
        self.spec = spec
        self.types = {**types, **BUILT_IN, **{f"journey.{name}": kind for name, kind in spec.variables.items()}}
        self.order = count(1)
        self.state = ""
        self.actions: list[tuple[str, CompiledAction]] = []
        self.event_reads: dict[str, set[str]] = {}
        self.field_reads: set[str] = set()
        self.incoming = incoming_transitions(spec)

    def chart(self, content: str) -> Chart:
        spec = self.spec
        root = self.node("", spec, "j")
        states = {name: self.node(name, state, "s") for name, state in spec.states.items()}
        nodes = (root, *states.values())
        goal = tuple(self.end_rule(name, spec.goal.when) for name in spec.goal.on) if spec.goal else ()
        exits = tuple(self.end_rule(item.on, item.when) for item in spec.exit)
        entry = tuple(self.end_rule(name, spec.entry.when) for name in spec.entry.on)
        tasks = {(state, action.name): action for state, action in self.actions if isinstance(action.spec, Task)}
        sends = [(state, action.name, action.spec) for state, action in self.actions if isinstance(action.spec, Send)]
        received = {signal for node in nodes for signal in node.on}
        closed = {f"{name}.closed" for _, name in tasks}
        return Chart(
            key=spec.journey,
            hash=content,
            spec=spec,
            types=self.types,
            entry=entry,
            limits=EntryLimits.of(spec),
            goal=goal,
            within=parse_duration(spec.goal.within) if spec.goal and spec.goal.within else None,
            exits=exits,
            states=states,
            root=root,
            timers={(node.name, timer.id): timer for node in nodes for timer in node.timers},
            tasks=tasks,
            sends=frozenset(name for _, name, _ in sends),
            routes=frozenset(
                (spec.topic_of(send), spec.priority_of(send), channel) for _, _, send in sends for channel in send.via
            ),
            lookbacks=longest_lookbacks(nodes),
            signals=frozenset(received | closed | {rule.on for rule in (*goal, *exits)}),
            fields={scope: self.fields_read(scope) for scope in ("profile", "account")},
            event_fields={
                **{name: frozenset(fields) for name, fields in self.event_reads.items()},
                play_signal(spec.journey): frozenset().union(*(self.event_reads.get(n, ()) for n in spec.entry.on)),
            },
            needs=required_fields(spec),
            roles={(state, name): send.for_ for state, name, send in sends},
        )

    def fields_read(self, scope: str) -> frozenset[str]:
        return frozenset(field.split(".", 1)[1] for field in self.field_reads if field.startswith(f"{scope}."))

    def node(self, name: str, spec: d.Reacting, scope: str) -> StateNode:
        self.state = name
        do = self.compiled_actions(spec.do, self.incoming[name], name) if isinstance(spec, d.State) else ()
        on = {signal: self.transitions(specs, (signal,)) for signal, specs in spec.on.items()}
        timers = [*self.delays(spec, scope), *self.repeats(spec, scope), *self.anchors(spec, scope)]
        return StateNode(name, do, on, tuple(timers), spec.final if isinstance(spec, d.State) else None)

    def delays(self, spec: d.Reacting, scope: str) -> Iterator[Timer]:
        for text, specs in spec.after.items():
            transitions = self.transitions(specs)
            yield Timer(f"{scope}:after.{text}", next(self.order), f"after {text}", transitions, delay=self.delay(text))

    def repeats(self, spec: d.Reacting, scope: str) -> Iterator[Timer]:
        for text, specs in spec.every.items():
            transitions = self.transitions(specs)
            times = [item.times for item in specs if item.times is not None]
            yield Timer(
                f"{scope}:every.{text}",
                next(self.order),
                f"every {text}",
                transitions,
                delay=self.delay(text),
                repeats=True,
                times=max(times, default=None),
            )

    def anchors(self, spec: d.Reacting, scope: str) -> Iterator[Timer]:
        for index, item in enumerate(spec.at):
            shift = f"{item.before} before " if item.before else f"{item.after} after " if item.after else "at "
            yield Timer(
                f"{scope}:at.{item.name or index}",
                next(self.order),
                f"{shift}{item.date}",
                self.transitions((item,)),
                date=self.condition(item.date, (), "timestamp"),
                before=parse_duration(item.before) if item.before else None,
                later=parse_duration(item.after) if item.after else None,
                past=item.past,
                every=parse_duration(item.every) if item.every else None,
                tolerance=tolerance_of(item),
            )

    def transitions(self, specs: Iterable[d.Transition], signals: tuple[str, ...] = ()) -> tuple[ChartTransition, ...]:
        return tuple(self.transition(spec, signals) for spec in specs)

    def transition(self, spec: d.Transition, signals: tuple[str, ...]) -> ChartTransition:
        lookback = spec.lookback if isinstance(spec, d.OnSignal) else None
        return ChartTransition(
            spec.to,
            self.guard(spec.when, signals),
            self.compiled_actions(spec.do, signals, spec.to or self.state),
            parse_duration(lookback) if lookback else None,
        )

    def compiled_actions(
        self, specs: tuple[Action, ...], signals: tuple[str, ...], state: str
    ) -> tuple[CompiledAction, ...]:
        """`state` is where they run: for a transition's actions, its target."""
        return tuple(self.action(spec, signals, state) for spec in specs)

    def action(self, spec: Action, signals: tuple[str, ...], state: str) -> CompiledAction:
        expressions = spec.set if isinstance(spec, Set) else getattr(spec, "data", {})
        for_each = spec.for_each if isinstance(spec, Emit) else None
        expires = spec.expires if isinstance(spec, Send) else None
        sla = spec.sla if isinstance(spec, Task) else None
        name = action_name(spec)
        action = CompiledAction(
            spec, name, self.guard(spec.when, signals),
            tuple((name, self.condition(source, signals, "value")) for name, source in expressions.items()),
            self.condition(for_each, signals, "list") if for_each else None,
            self.delay(expires) if expires else None,
            self.delay(sla) if sla else None,
            sum(other.name == name and of in ("", state) for of, other in self.actions),
        )  # fmt: skip
        self.actions.append((state, action))
        return action

    def end_rule(self, signal: str, when: str | None) -> EndRule:
        return EndRule(signal, self.guard(when, (signal,)))

    def guard(self, source: str | None, signals: tuple[str, ...]) -> Condition | None:
        return self.condition(source, signals, "bool") if source is not None else None

    def delay(self, text: str) -> Delay:
        return Delay(parse_duration(text), None) if is_iso(text) else Delay(None, self.condition(text, (), "duration"))

    def condition(self, source: str, signals: tuple[str, ...], kind: ConditionType) -> Condition:
        """A property that one of the signals does not carry is unknown after that signal."""
        carried = {signal: carried_by(self.types, signal) for signal in signals}
        events = {f"event.{name}": type_ for properties in carried.values() for name, type_ in properties.items()}
        compiled = compile_condition(source, {**self.types, **events}, kind)
        for field, _ in compiled.reads:
            if field.startswith("event.") and signals:
                for signal, properties in carried.items():
                    if field[6:] in properties:
                        self.event_reads.setdefault(signal, set()).add(field[6:])
            else:
                self.field_reads.add(field)
        return compiled
