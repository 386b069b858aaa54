"""A template as its author writes it: front matter between `---` lines, then the body. Every problem has its line."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from activities.liquid_engine import Liquid, LiquidProblem
from journeys.conditions import coerce
from journeys.definition import ChannelName, Model, Name, Scalar, Text

LARGEST_FILE = 64_000
"""Bytes. A body may not be more, before it is rendered."""

Status = Literal["draft", "live", "retired"]
ValueType = Literal["string", "int", "double", "bool", "timestamp", "strings"]
VariableName = Annotated[str, StringConstraints(pattern=r"^((profile|account)\.)?[a-z_][a-zA-Z0-9_]{0,63}$")]
LiquidText = Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=r"^[^\r\n]*$")]
_FENCE = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


class Variable(Model):
    """What an action's `data` gives, or, as `profile.x`, a field; `default` stands in where it is not known."""

    type: ValueType
    default: Scalar | tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _default_fits(self) -> Variable:
        if self.default is not None and self.value_of(self.default) is None:
            raise ValueError(f"the default is not a {self.type}")
        return self

    def value_of(self, given: Any) -> Any:
        """The value in its type, or None if it cannot be that."""
        return coerce(list(given) if isinstance(given, tuple) else given, self.type)


class Action(Model):
    """The single thing the message asks for (C9)."""

    label: LiquidText
    url: LiquidText


class FrontMatter(Model):
    """Who answers for a template, what it is for, where it may go (C9, C11)."""

    owner: Name
    topic: Name
    stage: Name
    role: Name | None = None
    action: Action
    review_date: date
    status: Status
    channels: Annotated[tuple[ChannelName, ...], Field(min_length=1)] = ("email",)
    subject: LiquidText
    variables: dict[VariableName, Variable] = Field(default_factory=dict)
    title: Text | None = None
    time_sensitive: bool = False
    trigger: Text | None = None

    @model_validator(mode="after")
    def _urgent_because(self) -> FrontMatter:
        """C7: what may interrupt somebody on their phone says in words what makes it urgent."""
        if self.time_sensitive != (self.trigger is not None):
            raise ValueError("time_sensitive: true and a trigger, such as 'your export is ready', belong together (C7)")
        return self

    @field_validator("review_date", mode="before")
    @classmethod
    def _dated(cls, value: Any) -> Any:
        """Only a calendar day: a number would be read as seconds since 1970."""
        if not isinstance(value, date | str):
            raise ValueError("a day such as 2026-12-31 is needed")  # noqa: TRY004 -- pydantic reports ValueError
        return value


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a file, and where; `line` counts from 1."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class TemplateProblems(ValueError):
    """Templates that cannot be published, with every problem found."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Source:
    """A file that can be rendered: its parsed pieces, and the fields of the person that they read."""

    matter: FrontMatter
    subject: Liquid
    label: Liquid
    url: Liquid
    body: Liquid
    fields_read: frozenset[str]
    names_read: frozenset[str]


def read_source(file: str, content: str) -> Source:
    """Parse and check one file. Raises TemplateProblems with all that is wrong with it."""
    if len(content.encode()) > LARGEST_FILE:
        raise TemplateProblems((Problem(file, 1, f"larger than {LARGEST_FILE} bytes"),))
    content = content.replace("\r\n", "\n")
    fence = _FENCE.match(content)
    if fence is None:
        raise TemplateProblems((Problem(file, 1, "front matter between two lines of --- is needed first"),))
    matter, lines = _front_matter(file, fence[1])
    return _checked(file, matter, lines, content[fence.end() :], content.count("\n", 0, fence.end()))


def _front_matter(file: str, text: str) -> tuple[FrontMatter, dict[tuple[Any, ...], int]]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise TemplateProblems((Problem(file, 1, "aliases are not taken in front matter"),))
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 2 if fault.problem_mark else 1
        raise TemplateProblems((Problem(file, line, fault.problem or "is not YAML"),)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise TemplateProblems((Problem(file, 1, f"is not YAML: {fault}".splitlines()[0]),)) from None
    lines = _lines(root) if root is not None else {}
    try:
        return FrontMatter.model_validate(raw), lines
    except ValidationError as fault:
        raise TemplateProblems(
            tuple(
                Problem(
                    file,
                    _line_of(lines, each["loc"]),
                    f"{'.'.join(map(str, each['loc'])) or 'front matter'}: {each['msg']}",
                )
                for each in fault.errors()
            )
        ) from None


def _checked(file: str, matter: FrontMatter, lines: dict[tuple[Any, ...], int], body: str, above: int) -> Source:
    """`above` is the number of lines before the body. A piece's first line is that of its key, or the body's first."""
    problems: list[Problem] = []
    pieces: list[Liquid] = []
    fields: set[str] = set()
    names: set[str] = set()
    for where, source, first in (
        ("subject", matter.subject, _line_of(lines, ("subject",))),
        ("action.label", matter.action.label, _line_of(lines, ("action", "label"))),
        ("action.url", matter.action.url, _line_of(lines, ("action", "url"))),
        ("body", body, above + 1),
    ):
        try:
            pieces.append(Liquid(source))
        except LiquidProblem as fault:
            problems.append(Problem(file, first + fault.line - 1, f"{where}: {fault.message}"))
            continue
        for read in pieces[-1].reads():
            if complaint := _complaint(read.path, matter):
                problems.append(Problem(file, first + read.line - 1, f"{where}: {complaint}"))
            elif read.path[0] in ("profile", "account"):
                fields.add(f"{read.path[0]}.{read.path[1]}")
            else:
                names.add(str(read.path[0]))
    if not body.strip():
        problems.append(Problem(file, above + 1, "body: is empty"))
    if problems:
        raise TemplateProblems(tuple(problems))
    subject, label, url, parsed_body = pieces
    fields_read, names_read = frozenset(fields), frozenset(names - {"unsubscribe_url"})
    return Source(matter, subject, label, url, parsed_body, fields_read, names_read)


def _complaint(path: tuple[str | None, ...], matter: FrontMatter) -> str:
    root = path[0]
    if root in ("profile", "account"):
        # What is read must be known before anything runs: the relay carries these fields and no others (H5).
        return "" if len(path) > 1 and path[1] else f"name the field of {root} that is read"
    if root in matter.variables or root == "unsubscribe_url":
        return ""
    return f"'{root}' is not declared under variables"


def _lines(node: yaml.Node, path: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], int]:
    """The file's line of every key and item; the fence is line 1, so YAML's line 0 is line 2."""
    found: dict[tuple[Any, ...], int] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*path, key.value)
            found |= {here: key.start_mark.line + 2} | _lines(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*path, index)
            found |= {here: value.start_mark.line + 2} | _lines(value, here)
    return found


def _line_of(lines: dict[tuple[Any, ...], int], path: tuple[Any, ...]) -> int:
    """The line of this key, or of the nearest thing around it that the author wrote."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
