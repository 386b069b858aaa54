"""A journey as a Mermaid `stateDiagram-v2`, drawn from the model that runs.

Reactions without a target stand inside their state, UML's way: `signal [guard] / actions`. What applies in every state
leaves from one box, `any state`.
"""

from __future__ import annotations

from collections.abc import Iterator

from journeys.language import definition as d
from journeys.language.actions import Action, action_name
from journeys.language.traversal import Reaction, reactions_of

LONGEST_LABEL = 120
_PLAIN = frozenset(" _.,/()+-=?!@*|[]")


def diagram(journey: d.Journey, here: str | None = None) -> str:
    """Mermaid text; `here` marks the state that a run is in. Any name or label is safe to render."""
    ids = {name: f"s{index}" for index, name in enumerate(journey.states)}
    lines = ["stateDiagram-v2", *_states(journey, ids)]
    if journey.start in ids:
        lines.append(f"[*] --> {ids[journey.start]}: {label(' or '.join(journey.entry.on))}")
    lines.extend(_transitions(journey, ids))
    lines.extend(_ends(journey))
    if here in ids:
        lines += ["classDef here stroke-width:4px", f"class {ids[here]} here"]
    return "\n    ".join(lines) + "\n"


def label(text: str) -> str:
    """Text that Mermaid takes for nothing but text: one line, not too long, all else as numeric entities."""
    line = " ".join(text.split())
    if len(line) > LONGEST_LABEL:
        line = line[: LONGEST_LABEL - 1] + "…"
    return "".join(mark if mark.isalnum() or mark in _PLAIN or mark == "…" else f"#{ord(mark)};" for mark in line)


def _states(journey: d.Journey, ids: dict[str, str]) -> Iterator[str]:
    inside: dict[str | None, list[str]] = {}
    for reaction in reactions_of(journey):
        for _, move in reaction.each():
            if move.to is None:
                inside.setdefault(reaction.state, []).append(_event(reaction, move) + _doing(move.do))
    for name, state in journey.states.items():
        yield f'state "{label(name)}" as {ids[name]}'
        if state.milestone:
            yield f"{ids[name]}: {label(f'until {state.milestone}, {state.owner}')}"
        for action in state.do:
            yield f"{ids[name]}: {label('entry' + _doing((action,)))}"
        for line in inside.get(name, ()):
            yield f"{ids[name]}: {label(line)}"
    if any(reaction.state is None for reaction in reactions_of(journey)) or journey.goal or journey.exit:
        yield 'state "any state" as any'
        for line in inside.get(None, ()):
            yield f"any: {label(line)}"


def _transitions(journey: d.Journey, ids: dict[str, str]) -> Iterator[str]:
    for reaction in reactions_of(journey):
        origin = "any" if reaction.state is None else ids[reaction.state]
        for _, move in reaction.each():
            if move.to in ids:
                yield f"{origin} --> {ids[move.to]}: {label(_event(reaction, move) + _doing(move.do))}"
    for name, state in journey.states.items():
        if state.final is not None:
            yield f"{ids[name]} --> [*]: {label(state.final)}"


def _ends(journey: d.Journey) -> Iterator[str]:
    if journey.goal is not None:
        yield f"any --> [*]: {label('goal ' + ' or '.join(journey.goal.on) + _guard(journey.goal.when))}"
        if journey.goal.within is not None:
            yield f"any --> [*]: {label(f'missed after {journey.goal.within}')}"
    for stop in journey.exit:
        yield f"any --> [*]: {label('exit ' + stop.on + _guard(stop.when))}"


def _event(reaction: Reaction, move: d.Transition) -> str:
    if isinstance(move, d.Anchor):
        when = f"{move.before} before " if move.before else f"{move.after} after " if move.after else "at "
        return when + move.date + _guard(move.when)
    trigger = reaction.by if reaction.trigger == "on" else f"{reaction.trigger} {reaction.by}"
    return trigger + _guard(move.when)


def _guard(when: str | None) -> str:
    return f" [{when}]" if when else ""


def _doing(actions: tuple[Action, ...]) -> str:
    return " / " + ", ".join(action_name(action) for action in actions) if actions else ""
