"""A text becomes a model, or a list of every fault in it, each at its line."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from journeys.language.definition import Journey
from journeys.language.problems import Path, Problem, problem, sorted_problems
from journeys.language.source import LARGEST, YamlSource, read_yaml

ModelType = TypeVar("ModelType", bound=BaseModel)

_MISSING = {"missing"}
_UNKNOWN = {"extra_forbidden"}
_NAMES = {"string_pattern_mismatch"}


def read_journey(text: str | bytes) -> tuple[Journey | None, YamlSource]:
    """The journey, or None with the reasons in `source.problems`. Never raises."""
    return read_model(text, Journey)


def read_model(
    text: str | bytes, model: type[ModelType], largest: int = LARGEST
) -> tuple[ModelType | None, YamlSource]:
    """Any of our models from YAML or JSON; None if there is a single fault, and then `source.problems` has them all."""
    source = read_yaml(text, largest)
    if source.value is None and source.problems:
        return None, source
    if not isinstance(source.value, dict):
        source.problems.append(problem("T110", (), "this is not a mapping of keys to values", at=(1, 1)))
        return None, source
    try:
        found = model.model_validate(source.value)
    except ValidationError as error:
        source.problems.extend(_problems(error, source, model))
        found = None
    source.problems = sorted_problems(source.problems)
    return (found if not source.problems else None), source


def _problems(error: ValidationError, source: YamlSource, model: type[BaseModel]) -> list[Problem]:
    """One problem for each place and fault; a union's branches complain at one place, so the first speaks for all."""
    found: dict[tuple[Path, str], Problem] = {}
    for item in error.errors(include_url=False, include_context=True):
        path: Path = tuple(item["loc"])
        written = source.written(path)
        code = _code(item["type"])
        at = source.position(path)
        subject = path[-1] if code in {"T108", "T109"} else None
        what, mend = _wording(code, item, subject, model)
        found.setdefault(
            (written if subject is None else (*written, subject), code), problem(code, written, what, mend=mend, at=at)
        )
    return list(found.values())


def _code(kind: str) -> str:
    if kind in _UNKNOWN:
        return "T108"
    if kind in _MISSING:
        return "T109"
    return "T111" if kind in _NAMES else "T110"


def _wording(code: str, item: Mapping[str, Any], subject: Any, model: type[BaseModel]) -> tuple[str, str | None]:
    if code == "T109":
        return f"{subject} is missing", f"Add `{subject}:`."
    if code == "T108":
        near = difflib.get_close_matches(str(subject), sorted(all_keys(model)), n=1)
        hint = f"Did you mean `{near[0]}`?" if near and near[0] != subject else "It belongs elsewhere; remove it here."
        return f"{subject} is not a key here", hint if near else None
    given = item["input"]
    shown = f"; given is {given!r}" if isinstance(given, str | int | float | bool) and len(repr(given)) < 80 else ""
    if code == "T111":
        return f"{given!r} is not a name of the right form" if len(repr(given)) < 120 else "a name too long", None
    message = str(item["msg"]).removeprefix("Value error, ")
    mend = "Put it in quotes." if item["type"] == "string_type" and isinstance(given, bool | int | float) else None
    return message[:1].lower() + message[1:] + shown, mend


@lru_cache(maxsize=8)
def all_keys(model: type[BaseModel]) -> frozenset[str]:
    """Every key that a definition may have anywhere, for suggestions."""
    found: set[str] = set()
    todo: list[Any] = [model.model_json_schema()]
    while todo:
        node = todo.pop()
        if isinstance(node, dict):
            properties = node.get("properties")
            if isinstance(properties, dict):
                found |= set(properties)
            todo.extend(value for value in node.values())
        elif isinstance(node, list):
            todo.extend(node)
    return frozenset(found)
