"""Every expression compiles in the reach of the place where it stands, and gives what that place needs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from journeys.checks.context import CheckContext
from journeys.checks.structure import signals_listened_to, similar_names
from journeys.checks.timers import is_rhythm
from journeys.language.actions import Emit, Send, Set
from journeys.language.conditions import ConditionError, compile_condition, fields_in
from journeys.language.outcome_signals import is_segment_signal
from journeys.language.problems import Path, Problem
from journeys.language.traversal import Expression, durations_of, expressions_of

_MACRO_ITEM = re.compile(r"\(\s*item\s*,")
_FITS = {
    "string": {"STRING"},
    "int": {"INT"},
    "double": {"DOUBLE", "INT"},
    "bool": {"BOOL"},
    "timestamp": {"TIMESTAMP"},
    "strings": {"LIST"},
}


def check_conditions(look: CheckContext) -> Iterator[Problem]:
    """All problems of CEL expressions, variables, case keys and emitted data."""
    for item in _expressions(look):
        yield from _expression(look, item)
    yield from _variables(look)
    yield from _case(look)
    yield from _emitted(look)
    yield from _said(look)


def _expressions(look: CheckContext) -> Iterator[Expression]:
    yield from expressions_of(look.journey)
    for wait in durations_of(look.journey):
        if is_rhythm(wait):
            yield Expression(wait.path, wait.text, "duration", is_key=wait.is_key)


def reach(look: CheckContext, item: Expression) -> dict[str, str]:
    """What an expression may read where it stands: all fields, and of `event` what its signals carry."""
    found = dict(look.types)
    for signal in item.signals:
        found |= {f"event.{name}": kind for name, kind in look.carried(signal).items()}
    if item.path[0] == "entry":
        found = {name: kind for name, kind in found.items() if not name.startswith("journey.")}
    return found


def _expression(look: CheckContext, item: Expression) -> Iterator[Problem]:
    types = reach(look, item)
    missing = [name for name in fields_in(item.source) if name not in types and name != "now"]
    for name in missing:
        fault = _out_of_reach(look, item, name)
        if fault is not None:
            code, what, mend = fault
            column = item.source.find(name) + 1
            yield look.say(code, item.path, what, mend=mend, column=column, key=item.is_key)
    try:
        compile_condition(item.source, types | {name: "any" for name in missing if name != "item"}, item.kind)
    except ConditionError as error:
        for complaint in error.complaints:
            what = f"{complaint.message}, in {_shortened(item.source)}"
            at = {"column": complaint.column, "line": complaint.line, "key": item.is_key}
            yield look.say("T401", item.path, what, **at)  # type: ignore[arg-type]


def _shortened(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= 80 else line[:79] + "…"


def _out_of_reach(look: CheckContext, item: Expression, name: str) -> tuple[str, str, str | None] | None:
    scope, _, field = name.partition(".")
    if scope == "item":
        if item.in_emit or _MACRO_ITEM.search(item.source):
            return None
        return "T404", "item is known only in the `data` of an emit with `for_each`", "Use `for_each`."
    if scope == "event" and item.signals:
        known = {each for signal in item.signals for each in look.carried(signal)}
        return "T403", f"{' and '.join(item.signals)} carries no {field}" + similar_names(field, known), None
    if scope == "event":
        return "T404", f"{name} is known only in what a signal leads to", None
    if scope == "profile" and look.journey.subject == "account":
        mend = "Read a field of the account, or make the subject a user."
        return "T404", f"{name}: an account has people, not one profile", mend
    if scope == "journey":
        if item.path[0] == "entry":
            return "T404", f"{name}: before the run begins it has no variables", "Read the event or the profile."
        return "T405", f"{field} is not declared under `variables`" + similar_names(field, look.journey.variables), None
    scoped = [each.partition(".")[2] for each in look.types if each.startswith(f"{scope}.")]
    return "T403", f"{name} is not in the tracking plan" + similar_names(field, scoped), None


def _variables(look: CheckContext) -> Iterator[Problem]:
    for doing in look.actions:
        if not isinstance(doing.action, Set):
            continue
        for name, source in doing.action.set.items():
            path = (*doing.path, "set", name)
            declared = look.journey.variables.get(name)
            if declared is None:
                what = f"{name} is not declared under `variables`" + similar_names(name, look.journey.variables)
                yield look.say("T405", path, what)
            else:
                yield from _fits(look, path, source, declared, "T406", f"the variable {name}")


def _fits(look: CheckContext, path: Path, source: str, kind: str, code: str, what: str) -> Iterator[Problem]:
    item = look.expressions.get(path)
    yields = _yields(look, item) if item is not None else None
    if yields is not None and yields not in _FITS[kind]:
        yield look.say(code, path, f"{what} is a {kind}, and {_shortened(source)} yields a {yields.lower()}")


def _yields(look: CheckContext, item: Expression) -> str | None:
    """The type of an expression's value by name, or None where it cannot be told before it runs."""
    try:
        condition = compile_condition(item.source, reach(look, item), item.kind)
    except ConditionError:
        return None
    name = str(condition.program.return_type().name()).partition("(")[0].partition("<")[0]
    return None if name == "DYN" else name


def _case(look: CheckContext) -> Iterator[Problem]:
    key = look.journey.case
    if key is None:
        return
    for path, name in signals_listened_to(look.journey):
        planned = look.plan.signals.get(name)
        if path[-1] == "milestone" or (planned is None and not is_segment_signal(name)):
            continue
        carried = planned.properties.get(key) if planned is not None else None
        if carried is None or not carried.required or carried.type not in {"string", "int"}:
            yield look.say("T407", path, f"{name} does not always carry {key}, the case's key, as text or number")


def _said(look: CheckContext) -> Iterator[Problem]:
    """What a send gives its template is of the variable's type (C11)."""
    for doing in look.actions:
        template = look.templates.get(doing.action.send) if isinstance(doing.action, Send) else None
        if not isinstance(doing.action, Send) or template is None:
            continue
        for name, source in doing.action.data.items():
            if name in template.types:
                what = f"{name} of {template.name}"
                yield from _fits(look, (*doing.path, "data", name), source, template.types[name], "T532", what)


def _emitted(look: CheckContext) -> Iterator[Problem]:
    for doing in look.actions:
        action = doing.action
        if not isinstance(action, Emit) or action.emit not in look.plan.signals:
            continue
        properties = look.plan.signals[action.emit].properties
        for name in action.data:
            if name not in properties:
                what = f"{action.emit} carries no {name}" + similar_names(name, properties)
                yield look.say("T408", (*doing.path, "data", name), what)
        for name, carried in properties.items():
            path = (*doing.path, "data", name)
            if name in action.data:
                yield from _fits(look, path, action.data[name], carried.type, "T408", f"{name} of {action.emit}")
            elif carried.required:
                yield look.say("T408", doing.path, f"{action.emit} needs {name}")
