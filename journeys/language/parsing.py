"""Read YAML or JSON into a pydantic model, with every fault at its line.

One problem for each place and kind of fault, with a suggestion where a key is misspelt.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from journeys.language.definition import Journey
from journeys.language.problems import Path, Problem, problem, sorted_problems
from journeys.language.source import MAX_BYTES, YamlSource, read_yaml

ModelType = TypeVar("ModelType", bound=BaseModel)

_MISSING = {"missing"}
_UNKNOWN = {"extra_forbidden"}
_NAMES = {"string_pattern_mismatch"}


def read_journey(text: str | bytes) -> tuple[Journey | None, YamlSource]:
    """The journey of a definition's text, or None with the reasons in `source.problems`. Never raises."""
    return read_model(text, Journey)


def read_model(
    text: str | bytes, model: type[ModelType], max_bytes: int = MAX_BYTES
) -> tuple[ModelType | None, YamlSource]:
    """A model from YAML or JSON; None if there is any fault, with all of them in `source.problems`. Never raises."""
    source = read_yaml(text, max_bytes)
    if source.value is None and source.problems:
        return None, source
    if not isinstance(source.value, dict):
        source.problems.append(problem("T110", (), "this is not a mapping of keys to values", at=(1, 1)))
        return None, source
    try:
        parsed = model.model_validate(source.value)
    except ValidationError as error:
        source.problems.extend(_problems(error, source, model))
        parsed = None
    source.problems = sorted_problems(source.problems)
    return (parsed if not source.problems else None), source


def _problems(error: ValidationError, source: YamlSource, model: type[BaseModel]) -> list[Problem]:
    """The problems of a validation error. Of the faults that a union's branches have at one place the first is kept."""
    problems: dict[tuple[Path, str], Problem] = {}
    for fault in error.errors(include_url=False, include_context=True):
        path: Path = tuple(fault["loc"])
        written = source.written(path)
        code = _code(fault["type"])
        key = path[-1] if code in {"T108", "T109"} else None
        text, mend = _wording(code, fault, key, model)
        at_place = (written if key is None else (*written, key), code)
        problems.setdefault(at_place, problem(code, written, text, mend=mend, at=source.position(path)))
    return list(problems.values())


def _code(kind: str) -> str:
    if kind in _UNKNOWN:
        return "T108"
    if kind in _MISSING:
        return "T109"
    return "T111" if kind in _NAMES else "T110"


def _wording(code: str, fault: Mapping[str, Any], key: Any, model: type[BaseModel]) -> tuple[str, str | None]:
    if code == "T109":
        return f"{key} is missing", f"Add `{key}:`."
    if code == "T108":
        near = difflib.get_close_matches(str(key), sorted(all_keys(model)), n=1)
        hint = f"Did you mean `{near[0]}`?" if near and near[0] != key else "It belongs elsewhere; remove it here."
        return f"{key} is not a key here", hint if near else None
    given = fault["input"]
    shown = f"; got {given!r}" if isinstance(given, str | int | float | bool) and len(repr(given)) < 80 else ""
    if code == "T111":
        return f"{given!r} is not a valid name" if len(repr(given)) < 120 else "the name is too long", None
    message = str(fault["msg"]).removeprefix("Value error, ")
    mend = "Put it in quotes." if fault["type"] == "string_type" and isinstance(given, bool | int | float) else None
    return message[:1].lower() + message[1:] + shown, mend


@lru_cache(maxsize=8)
def all_keys(model: type[BaseModel]) -> frozenset[str]:
    """Every key that the model and its parts may have, for suggestions."""
    keys: set[str] = set()
    pending: list[Any] = [model.model_json_schema()]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            properties = node.get("properties")
            if isinstance(properties, dict):
                keys |= set(properties)
            pending.extend(value for value in node.values())
        elif isinstance(node, list):
            pending.extend(node)
    return frozenset(keys)
