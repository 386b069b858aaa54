"""Read YAML or JSON into plain values, each with its line and column.

The text comes from any author, so it is read from parser events and nothing is constructed. Anchors, aliases, tags and
further documents are refused (a few lines of aliases expand to gigabytes), depth and size are bounded, and scalars
follow YAML 1.2's core schema, in which `on` is a word and not a truth value.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from journeys.language.problems import Path, Problem, problem

MAX_BYTES = 64 * 1024
"""Bytes of a definition: thirty times the largest shipped one, and checked in seconds at worst."""
MAX_DEPTH = 24
"""Levels of nesting."""
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WHOLE = re.compile(r"[-+]?[0-9]+")
_FLOATING = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WORDS: dict[str, Any] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_WORDS |= dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Position:
    """Line and column of a value, from 1, and of its `key`.

    `inline`: the value begins at this column, so a column within it can be added.
    """

    line: int
    column: int
    key: tuple[int, int] | None = None
    inline: bool = False


@dataclass(slots=True)
class YamlSource:
    """The plain value of a text, the position of each value in it by path, and the problems found."""

    value: Any = None
    positions: dict[Path, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def written(self, path: Path) -> Path:
        """The part of a model's path that is in the text: `on: {x: silent}` has no `[0].to`."""
        written: Path = ()
        for part in path:
            if (*written, part) in self.positions:
                written = (*written, part)
        return written

    def position(self, path: Path) -> tuple[int, int]:
        """Line and column of a path: of its key if it has one, else of its value."""
        position = self.positions.get(self.written(path), Position(1, 1))
        return position.key or (position.line, position.column)

    def within(self, path: Path, line: int, column: int, *, key: bool = False) -> tuple[int, int]:
        """Line and column of a position in the expression at this path, or in its key."""
        position = self.positions.get(self.written(path), Position(1, 1))
        if key and position.key is not None:
            return position.key[0], position.key[1] + column - 1
        if position.inline and line == 1:
            return position.line, position.column + column - 1
        return (position.line, position.column) if line == 1 else (position.line + line - 1, column)


def read_yaml(text: str | bytes, max_bytes: int = MAX_BYTES) -> YamlSource:
    """Plain values with their positions; faults are in `problems`. Never raises."""
    source = YamlSource()
    fault = _unreadable(text, max_bytes)
    if fault is not None:
        source.problems.append(problem("T101", (), fault, at=(1, 1)))
        return source
    decoded = text.decode() if isinstance(text, bytes) else text
    try:
        _Reader(source, _as_yaml(decoded)).read()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = (mark.line + 1, mark.column + 1) if mark is not None else (1, 1)
        source.problems.append(problem("T102", (), str(error.problem or error.context), at=at))
    except yaml.YAMLError as error:
        source.problems.append(problem("T102", (), str(error).splitlines()[0], at=(1, 1)))
    return source


def _unreadable(text: str | bytes, max_bytes: int) -> str | None:
    if isinstance(text, bytes):
        try:
            text = text.decode()
        except UnicodeDecodeError as error:
            return f"byte {error.start} is not UTF-8"
    if len(text) > max_bytes or len(text.encode(errors="replace")) > max_bytes:
        return f"the text is larger than {max_bytes // 1024} KB"
    forbidden = _FORBIDDEN.search(text)
    if forbidden is not None:
        line = text.count("\n", 0, forbidden.start()) + 1
        return f"line {line} has the control character U+{ord(forbidden[0]):04X}"
    return None if text.strip() else "the text is empty"


def _as_yaml(text: str) -> str:
    """JSON is YAML except for tabs and surrogate escapes; both are replaced so that lines and columns stay."""
    if not text.lstrip().startswith("{"):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return _SURROGATES.sub(_joined_surrogates, text.replace("\t", " "))


def _joined_surrogates(match: re.Match[str]) -> str:
    return bytes.fromhex(match[1] + match[2]).decode("utf-16-be")


class _Unusable(Exception):
    """Reading stops here; the reason is among the problems."""


class _Reader:
    """Builds plain values from parser events, and continues after a problem if the rest can be read."""

    def __init__(self, source: YamlSource, text: str) -> None:
        self.source = source
        self.events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)

    def read(self) -> None:
        try:
            next(self.events)
            event = next(self.events)
            if isinstance(event, yaml.StreamEndEvent):
                self.note("T101", (), event, "the text has no content")
                return
            self.source.value = self.value(next(self.events), (), None)
            next(self.events)
            following = next(self.events)
            if not isinstance(following, yaml.StreamEndEvent):
                self.note("T103", (), following, "a second document begins here")
        except _Unusable:
            self.source.value = None

    def note(self, code: str, path: Path, event: Any, text: str) -> None:
        at = (event.start_mark.line + 1, event.start_mark.column + 1)
        self.source.problems.append(problem(code, path, text, at=at))

    def value(self, event: Any, path: Path, key: tuple[int, int] | None) -> Any:
        if len(path) > MAX_DEPTH:
            self.note("T104", path[:3], event, f"the text is nested more than {MAX_DEPTH} levels deep")
            raise _Unusable
        mark = event.start_mark
        quoted = isinstance(event, yaml.ScalarEvent) and event.style in {"'", '"'}
        inline = isinstance(event, yaml.ScalarEvent) and event.style not in {"|", ">"}
        self.source.positions[path] = Position(mark.line + 1, mark.column + 1 + quoted, key, inline)
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            self.note("T103", path, event, "an anchor or alias is used here")
            raise _Unusable
        if event.tag is not None:
            self.note("T103", path, event, f"the tag {event.tag} is used here")
            raise _Unusable
        match event:
            case yaml.MappingStartEvent():
                return self.mapping(path)
            case yaml.SequenceStartEvent():
                return self.sequence(path)
            case _:
                return self.scalar(event, path)

    def mapping(self, path: Path) -> dict[str, Any]:
        values: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.key(event, path)
            at = (event.start_mark.line + 1, event.start_mark.column + 1)
            if key is None:
                self.value(next(self.events), (*path, "?"), at)
            elif key in values:
                first = self.source.position((*path, key))[0]
                self.note("T106", (*path, key), event, f"{key} is already in line {first}")
                self.value(next(self.events), (*path, key, "?"), at)
            else:
                values[key] = None
                values[key] = self.value(next(self.events), (*path, key), at)
        return values

    def key(self, event: Any, path: Path) -> str | None:
        """The text of a key; None for a plain word that YAML reads as a number, a truth value or null."""
        if not isinstance(event, yaml.ScalarEvent):
            self.note("T107", path, event, "a key is a list or a mapping")
            raise _Unusable
        if event.anchor is not None or event.tag is not None:
            self.note("T103", path, event, "a key has an anchor or tag")
            raise _Unusable
        if not event.style and not isinstance(self.plain(event.value), str):
            self.note("T107", path, event, f"the key {event.value[:40]!r} is not text")
            return None
        return str(event.value)

    def sequence(self, path: Path) -> list[Any]:
        values: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            values.append(self.value(event, (*path, len(values)), None))
        return values

    def scalar(self, event: Any, path: Path) -> Any:
        if event.style:
            return event.value
        value = self.plain(event.value)
        if value is _OUT_OF_RANGE:
            self.note(
                "T105", path, event, f"the number {event.value[:20]}{'…' * (len(event.value) > 20)} is out of range"
            )
            return 1
        return value

    @staticmethod
    def plain(text: str) -> Any:
        """A plain scalar by YAML 1.2's core schema."""
        if text in _WORDS:
            return _WORDS[text]
        if _WHOLE.fullmatch(text):
            return int(text) if len(text) <= 16 else _OUT_OF_RANGE
        if _FLOATING.fullmatch(text):
            number = float(text)
            return number if math.isfinite(number) and abs(number) < 1e15 else _OUT_OF_RANGE
        return text


_OUT_OF_RANGE = object()
