"""CEL conditions: compiled with type checks, evaluated without exceptions.

A condition that cannot be evaluated is never true and never raises. Each field is a variable with its dotted name and
its own type (`profile.account_fit: double`), beside `known.profile.account_fit: bool`, which is true if the field has a
value. So a misspelt field is an error with a column at publication, and with a missing value the condition is not true.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Literal

from cel_expr_python import cel

from journeys.frozen import frozen
from journeys.language.values import coerce, is_unknown

FieldType = Literal["string", "int", "double", "bool", "timestamp", "strings", "any"]
ConditionType = Literal["bool", "duration", "timestamp", "list", "value"]
"""The type that an expression must yield: a guard a bool, a delay a duration, an anchor a timestamp, data any value."""

_CEL_TYPES: dict[str, Any] = {
    "string": cel.Type.STRING,
    "int": cel.Type.INT,
    "double": cel.Type.DOUBLE,
    "bool": cel.Type.BOOL,
    "timestamp": cel.Type.TIMESTAMP,
    "strings": cel.Type.List(cel.Type.STRING),
    "any": cel.Type.DYN,
}
_PYTHON_TYPES: Mapping[str, type] = {"bool": bool, "duration": timedelta, "timestamp": datetime, "list": list}
_LITERAL = re.compile(
    r"""//[^\n]*"""
    r"""|[bB]?[rR][bB]?(?:"[^"\n]*"|'[^'\n]*')"""
    r"""|[bB]?(?:\"\"\".*?\"\"\"|'''.*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*')""",
    re.DOTALL,
)
"""Comments and string literals, raw or not: names in them are not variables."""
_NAME = re.compile(
    r"(?<![\w.])(?:known\.)?(?:profile|account|event|journey|person)\.[A-Za-z_]\w*|(?<![\w.])(?:now|item)\b"
)
_FAULT = re.compile(r"<input>:(-?\d+):(-?\d+): (.*)")
SUBJECTS: Final = ("profile.", "account.")
"""Prefixes of the fields of a person and an account."""
_MAX_TEXT = 8_192
_SMALL = {"string", "int", "double", "bool"}
_MAX_REMEMBERED = 512


@dataclass(frozen=True, slots=True)
class ExpressionFault:
    """A fault of an expression; `line` and `column` count from 1 within it."""

    message: str
    column: int
    line: int = 1


class ConditionError(ValueError):
    """An expression that cannot be published; `faults` has everything the type checker found."""

    def __init__(self, source: str, faults: tuple[ExpressionFault, ...]) -> None:
        super().__init__("; ".join(fault.message for fault in faults))
        self.source, self.faults = source, faults


@frozen
class Evaluation:
    """The result of an evaluation: `ok` with its value, or not with the reason."""

    ok: bool
    value: Any
    reason: str = ""


Lookup = Callable[[str], Any]
"""The JSON value of a field by its dotted name, or None where it is not known."""


@dataclass(frozen=True, slots=True, eq=False)
class Condition:
    """A type-checked expression. `reads` are the fields it reads, with their types, found by static analysis."""

    source: str
    kind: ConditionType
    names: tuple[str, ...]
    reads: tuple[tuple[str, str], ...]
    program: Any
    memory: dict[tuple[Any, ...], Evaluation] | None = None
    """Evaluations by the values read, if these are few and small: a condition is a function of them alone."""

    def evaluate(self, lookup: Lookup) -> Evaluation:
        """Evaluate over these fields; any fault is a result that is not ok."""
        try:
            values = tuple([_value_of(lookup(field), field, kind) for field, kind in self.reads])
            if self.memory is None:
                return self._evaluate(values)
            evaluation = self.memory.get(values)
            if evaluation is None:
                if len(self.memory) >= _MAX_REMEMBERED:
                    self.memory.clear()
                evaluation = self.memory[values] = self._evaluate(values)
        except Exception as fault:  # noqa: BLE001 -- the engine may raise anything; a guard always has a result
            return Evaluation(ok=False, value=None, reason=f"could not be evaluated: {type(fault).__name__}")
        return evaluation

    def _evaluate(self, values: tuple[Any, ...]) -> Evaluation:
        given: dict[str, Any] = {}
        for (field, _), value in zip(self.reads, values, strict=True):
            given[f"known.{field}"] = value is not None
            if value is not None:
                given[field] = value
        result = self.program.eval(data=given)
        cel_type = result.type()
        if cel_type == cel.Type.ERROR:
            return Evaluation(ok=False, value=None, reason=_plain_reason(str(result.value())))
        return self._checked(result.plain_value(), cel_type)

    def _checked(self, value: Any, cel_type: Any) -> Evaluation:
        python_type = _PYTHON_TYPES.get(self.kind)
        if python_type is not None and not isinstance(value, python_type):
            return Evaluation(ok=False, value=None, reason=f"yields {cel_type.name().lower()}, not {self.kind}")
        if isinstance(value, str) and len(value) > _MAX_TEXT:
            return Evaluation(ok=False, value=None, reason=f"yields a text of more than {_MAX_TEXT} characters")
        return Evaluation(ok=True, value=value)

    def holds(self, lookup: Lookup) -> tuple[bool, str]:
        """Whether this guard is true; if not, the reason."""
        evaluation = self.evaluate(lookup)
        if not evaluation.ok:
            return False, f"{self.source}: {evaluation.reason}"
        return evaluation.value is True, "" if evaluation.value is True else f"{self.source} is false"


def _value_of(value: Any, field: str, kind: str) -> Any:
    """The value of a field by its type; a blank text of a person or an account is unknown, one of an event is a text."""
    value = coerce(value, kind)
    return None if is_unknown(value) and field.startswith(SUBJECTS) else value


def names_in(source: str) -> tuple[str, ...]:
    """The variables that an expression reads (`profile.x`, `known.profile.x`, `now`, …), each once, in order."""
    return tuple(dict.fromkeys(_NAME.findall(_LITERAL.sub('""', source))))


def fields_in(source: str) -> tuple[str, ...]:
    """The fields behind `names_in`: `known.profile.x` reads `profile.x`."""
    return tuple(dict.fromkeys(name.removeprefix("known.") for name in names_in(source)))


def compile_condition(source: str, types: Mapping[str, str], kind: ConditionType = "bool") -> Condition:
    """Compile an expression over fields of these types (by dotted name). Raises ConditionError with every fault."""
    names = names_in(source)
    fields = dict.fromkeys(name.removeprefix("known.") for name in names)
    reads = tuple((field, types[field]) for field in fields if field in types)
    if "now" in fields:
        reads += (("now", "timestamp"),)
    if "item" in fields:
        reads += (("item", "any"),)
    try:
        program = _environment(tuple(sorted(reads))).compile(source)
    except RuntimeError as fault:
        raise ConditionError(source, _faults(str(fault))) from None
    except (TypeError, UnicodeError):
        raise ConditionError(source, (ExpressionFault("is not Unicode text", 1),)) from None
    expected = {"bool": "BOOL", "duration": "DURATION", "timestamp": "TIMESTAMP", "list": "LIST"}.get(kind)
    yields = program.return_type().name()
    if expected is not None and not yields.startswith(expected) and yields != "DYN":
        raise ConditionError(source, (ExpressionFault(f"yields {yields.lower()}, where {kind} is needed", 1),))
    small = all(field_kind in _SMALL for _, field_kind in reads) and kind in {"bool", "duration"}
    return Condition(source, kind, names, reads, program, {} if small else None)


@lru_cache(maxsize=4096)
def _environment(known: tuple[tuple[str, str], ...]) -> Any:
    variables: dict[str, Any] = {}
    for field, kind in known:
        variables[field] = _CEL_TYPES[kind]
        variables[f"known.{field}"] = cel.Type.BOOL
    return cel.NewEnv(variables=variables, functions=[_DAYS])


def _days(count: float) -> timedelta:
    return timedelta(days=count)


_DAYS = cel.FunctionDecl(
    "days",
    [
        cel.Overload("days_int", cel.Type.DURATION, [cel.Type.INT], False, _days),
        cel.Overload("days_double", cel.Type.DURATION, [cel.Type.DOUBLE], False, _days),
    ],
)


def _faults(text: str) -> tuple[ExpressionFault, ...]:
    faults = [
        ExpressionFault(_plain_reason(match[3]), max(1, int(match[2])), max(1, int(match[1])))
        for match in map(_FAULT.search, text.splitlines())
        if match is not None
    ]
    return tuple(faults) or (ExpressionFault(_plain_reason(text), 1),)


@lru_cache(maxsize=1024)
def _plain_reason(text: str) -> str:
    missing = re.search(r'No value with name "([^"]+)"', text)
    if missing:
        return f"{missing[1]} is not known"
    return re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$| \(in container ''\)", "", text.splitlines()[0]).strip()
