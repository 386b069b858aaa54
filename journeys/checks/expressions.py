"""Checks of CEL expressions, variables, case keys, emitted data and template data.

Every expression compiles over the fields known where it stands, and yields the type needed there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from journeys.checks.context import CheckContext
from journeys.checks.structure import signals_listened_to, similar_name_hint
from journeys.checks.timers import is_cel_duration
from journeys.language.actions import Emit, Send, Set
from journeys.language.conditions import ConditionError, compile_condition, fields_in
from journeys.language.outcome_signals import is_segment_signal
from journeys.language.problems import Path, Problem
from journeys.language.traversal import Expression, durations_of, expressions_of

MAX_SHOWN = 80
"""Characters of an expression in a message before it is shortened."""
_MACRO_ITEM = re.compile(r"\(\s*item\s*,")
_CEL_TYPES = {
    "string": {"STRING"},
    "int": {"INT"},
    "double": {"DOUBLE", "INT"},
    "bool": {"BOOL"},
    "timestamp": {"TIMESTAMP"},
    "strings": {"LIST"},
}
"""By declared type, the types of CEL that fit it."""


def check_expressions(context: CheckContext) -> Iterator[Problem]:
    """All problems of CEL expressions, variables, case keys and data."""
    yield from _expressions(context)
    yield from _variables(context)
    yield from _case_key(context)
    yield from _emitted_data(context)
    yield from _template_data(context)


def _expressions(context: CheckContext) -> Iterator[Problem]:
    for expression in expressions_of(context.journey):
        yield from _expression(context, expression)
    for site in durations_of(context.journey):
        if is_cel_duration(site):
            yield from _expression(context, Expression(site.path, site.text, "duration", is_key=site.is_key))


def _known_types(context: CheckContext, expression: Expression) -> dict[str, str]:
    """The types of all fields that an expression may read, with the properties of its signals under `event`."""
    types = dict(context.types)
    for signal in expression.signals:
        types |= {f"event.{name}": kind for name, kind in context.carried(signal).items()}
    if expression.path[0] == "entry":
        types = {name: kind for name, kind in types.items() if not name.startswith("journey.")}
    return types


def _expression(context: CheckContext, expression: Expression) -> Iterator[Problem]:
    source, path = expression.source, expression.path
    types = _known_types(context, expression)
    unknown = [name for name in fields_in(source) if name not in types and name != "now"]
    for name in unknown:
        explanation = _unknown_field(context, expression, name)
        if explanation is not None:
            code, text, mend = explanation
            column = source.find(name) + 1
            yield context.problem(code, path, text, mend=mend, column=column, key=expression.is_key)
    try:
        compile_condition(source, types | {name: "any" for name in unknown if name != "item"}, expression.kind)
    except ConditionError as error:
        for fault in error.faults:
            text = f"{fault.message}, in {_shortened(source)}"
            yield context.problem("T401", path, text, column=fault.column, line=fault.line, key=expression.is_key)


def _shortened(source: str) -> str:
    line = " ".join(source.split())
    return line if len(line) <= MAX_SHOWN else line[: MAX_SHOWN - 1] + "…"


def _unknown_field(context: CheckContext, expression: Expression, name: str) -> tuple[str, str, str | None] | None:
    """Code, message and mend for a field that is not known here; None for `item` where a macro or emit declares it."""
    scope, _, field = name.partition(".")
    journey = context.journey
    if scope == "item":
        if expression.in_emit or _MACRO_ITEM.search(expression.source):
            return None
        return "T404", "item is known only in the `data` of an emit with `for_each`", "Use `for_each`."
    if scope == "event" and expression.signals:
        properties = {name for signal in expression.signals for name in context.carried(signal)}
        signals = " and ".join(expression.signals)
        return "T403", f"{signals} carries no {field}" + similar_name_hint(field, properties), None
    if scope == "event":
        return "T404", f"{name} is known only in the reaction to a signal", None
    if scope == "profile" and journey.subject == "account":
        mend = "Read a field of the account, or make the subject a user."
        return "T404", f"{name} is not known: the subject is an account and has no profile", mend
    if scope == "journey":
        if expression.path[0] == "entry":
            mend = "Read the event or the profile."
            return "T404", f"{name} is not known before the run begins", mend
        return "T405", f"{field} is not declared under `variables`" + similar_name_hint(field, journey.variables), None
    fields = [known.partition(".")[2] for known in context.types if known.startswith(f"{scope}.")]
    return "T403", f"{name} is not in the tracking plan" + similar_name_hint(field, fields), None


def _variables(context: CheckContext) -> Iterator[Problem]:
    variables = context.journey.variables
    for site in context.actions:
        if not isinstance(site.action, Set):
            continue
        for name, source in site.action.set.items():
            path = (*site.path, "set", name)
            declared = variables.get(name)
            if declared is None:
                text = f"{name} is not declared under `variables`" + similar_name_hint(name, variables)
                yield context.problem("T405", path, text)
            else:
                yield from _type_problems(context, path, source, declared, "T406", f"the variable {name}")


def _type_problems(
    context: CheckContext, path: Path, source: str, kind: str, code: str, subject: str
) -> Iterator[Problem]:
    expression = context.expressions.get(path)
    yielded = _yielded_type(context, expression) if expression is not None else None
    if yielded is not None and yielded not in _CEL_TYPES[kind]:
        text = f"{subject} is a {kind}, and {_shortened(source)} yields a {yielded.lower()}"
        yield context.problem(code, path, text)


def _yielded_type(context: CheckContext, expression: Expression) -> str | None:
    """The CEL type of an expression's value; None where it is known only at run time."""
    try:
        condition = compile_condition(expression.source, _known_types(context, expression), expression.kind)
    except ConditionError:
        return None
    name = str(condition.program.return_type().name()).partition("(")[0].partition("<")[0]
    return None if name == "DYN" else name


def _case_key(context: CheckContext) -> Iterator[Problem]:
    key = context.journey.case
    if key is None:
        return
    for path, name in signals_listened_to(context.journey):
        planned = context.plan.signals.get(name)
        if path[-1] == "milestone" or (planned is None and not is_segment_signal(name)):
            continue
        carried = planned.properties.get(key) if planned is not None else None
        if carried is None or not carried.required or carried.type not in {"string", "int"}:
            text = f"{name} does not always carry {key}, the case key, as a string or an int"
            yield context.problem("T407", path, text)


def _template_data(context: CheckContext) -> Iterator[Problem]:
    for site in context.actions:
        template = context.templates.get(site.action.send) if isinstance(site.action, Send) else None
        if not isinstance(site.action, Send) or template is None:
            continue
        for name, source in site.action.data.items():
            if name in template.types:
                path, subject = (*site.path, "data", name), f"{name} of {template.name}"
                yield from _type_problems(context, path, source, template.types[name], "T532", subject)


def _emitted_data(context: CheckContext) -> Iterator[Problem]:
    for site in context.actions:
        action = site.action
        if not isinstance(action, Emit) or action.emit not in context.plan.signals:
            continue
        properties = context.plan.signals[action.emit].properties
        for name in action.data:
            if name not in properties:
                text = f"{action.emit} carries no {name}" + similar_name_hint(name, properties)
                yield context.problem("T408", (*site.path, "data", name), text)
        for name, declared in properties.items():
            path, subject = (*site.path, "data", name), f"{name} of {action.emit}"
            if name in action.data:
                yield from _type_problems(context, path, action.data[name], declared.type, "T408", subject)
            elif declared.required:
                yield context.problem("T408", site.path, f"{action.emit} needs {name}")
