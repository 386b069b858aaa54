"""Draw a journey as a Mermaid `stateDiagram-v2`.

Internal transitions are lines of their state, as in UML: `signal [guard] / actions`. Transitions that apply in every
state start from one box, `any state`.
"""

from __future__ import annotations

from collections.abc import Iterator

from journeys.language import definition as d
from journeys.language.actions import Action, action_name
from journeys.language.traversal import Reaction, reactions_of

MAX_LABEL = 120
"""Characters of a label before it is shortened."""
_PLAIN = frozenset(" _.,/()+-=?!@*|[]")


def diagram(journey: d.Journey, here: str | None = None) -> str:
    """Mermaid text; `here` is the state to mark, that of a run. Names and labels are escaped."""
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
    """Text as one short line that Mermaid reads as text alone; other characters become numeric entities."""
    line = " ".join(text.split())
    if len(line) > MAX_LABEL:
        line = line[: MAX_LABEL - 1] + "…"
    return "".join(mark if mark.isalnum() or mark in _PLAIN or mark == "…" else f"#{ord(mark)};" for mark in line)


def _states(journey: d.Journey, ids: dict[str, str]) -> Iterator[str]:
    inside: dict[str | None, list[str]] = {}
    for reaction in reactions_of(journey):
        for _, transition in reaction.each_transition():
            if transition.to is None:
                internal = _trigger(reaction, transition) + _actions(transition.do)
                inside.setdefault(reaction.state, []).append(internal)
    for name, state in journey.states.items():
        yield f'state "{label(name)}" as {ids[name]}'
        if state.milestone:
            yield f"{ids[name]}: {label(f'until {state.milestone}, {state.owner}')}"
        for action in state.do:
            yield f"{ids[name]}: {label('entry' + _actions((action,)))}"
        for line in inside.get(name, ()):
            yield f"{ids[name]}: {label(line)}"
    if any(reaction.state is None for reaction in reactions_of(journey)) or journey.goal or journey.exit:
        yield 'state "any state" as any'
        for line in inside.get(None, ()):
            yield f"any: {label(line)}"


def _transitions(journey: d.Journey, ids: dict[str, str]) -> Iterator[str]:
    for reaction in reactions_of(journey):
        origin = "any" if reaction.state is None else ids[reaction.state]
        for _, transition in reaction.each_transition():
            if transition.to in ids:
                text = label(_trigger(reaction, transition) + _actions(transition.do))
                yield f"{origin} --> {ids[transition.to]}: {text}"
    for name, state in journey.states.items():
        if state.final is not None:
            yield f"{ids[name]} --> [*]: {label(state.final)}"


def _ends(journey: d.Journey) -> Iterator[str]:
    if journey.goal is not None:
        yield f"any --> [*]: {label('goal ' + ' or '.join(journey.goal.on) + _guard(journey.goal.when))}"
        if journey.goal.within is not None:
            yield f"any --> [*]: {label(f'missed after {journey.goal.within}')}"
    for exit_rule in journey.exit:
        yield f"any --> [*]: {label('exit ' + exit_rule.on + _guard(exit_rule.when))}"


def _trigger(reaction: Reaction, transition: d.Transition) -> str:
    if isinstance(transition, d.Anchor):
        before, after = transition.before, transition.after
        shift = f"{before} before " if before else f"{after} after " if after else "at "
        return shift + transition.date + _guard(transition.when)
    trigger = reaction.key if reaction.trigger == "on" else f"{reaction.trigger} {reaction.key}"
    return trigger + _guard(transition.when)


def _guard(when: str | None) -> str:
    return f" [{when}]" if when else ""


def _actions(actions: tuple[Action, ...]) -> str:
    return " / " + ", ".join(action_name(action) for action in actions) if actions else ""
