"""Source of a template: front matter and body, with problems by line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from activities.content.front_matter import GIVEN, CallToAction, FrontMatter, VariantMatter, unfit
from activities.content.liquid import Liquid, LiquidProblem
from journeys.language.actions import Model

MAX_FILE = 64_000
"""Bytes of a template file."""

M = TypeVar("M", bound=Model)
Lines = dict[tuple[Any, ...], int]
"""Line of the file, from 1, by path of a key."""
_FENCE = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """A problem of a file; `line` counts from 1."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class TemplateProblems(ValueError):
    """Templates that cannot be read, with every problem."""

    def __init__(self, problems: tuple[TemplateProblem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class TemplateSource:
    """A file that can be rendered: parsed pieces, and the fields and variables that they read."""

    matter: FrontMatter
    subject: Liquid
    label: Liquid
    url: Liquid
    body: Liquid
    labels: tuple[Liquid, ...]
    fields_read: frozenset[str]
    names_read: frozenset[str]
    file: str = ""


@dataclass(frozen=True, slots=True)
class SplitTemplate:
    """Front matter and body of a file; `above` is the number of lines before the body."""

    file: str
    header: str
    body: str
    above: int


def parse_template(file: str, content: str) -> TemplateSource:
    """Parse and check one file. Raises TemplateProblems with every problem."""
    written = _split(file, content)
    matter, lines = _front_matter(file, written.header, FrontMatter)
    return _checked(written, matter, lines)


def read_variant_source(file: str, content: str, base: TemplateSource | None) -> TemplateSource | None:
    """Parse and check a variant against its template; None if the template itself is broken. Raises TemplateProblems."""
    written = _split(file, content)
    own, lines = _front_matter(file, written.header, VariantMatter)
    if base is None:
        return None
    source = _checked(written, _merged(base.matter, own), lines)
    if problems := tuple(_differences(file, own, lines, base, source)):
        raise TemplateProblems(problems)
    return source


def _split(file: str, content: str) -> SplitTemplate:
    if len(content.encode()) > MAX_FILE:
        raise TemplateProblems((TemplateProblem(file, 1, f"larger than {MAX_FILE} bytes"),))
    content = content.replace("\r\n", "\n")
    fence = _FENCE.match(content)
    if fence is None:
        raise TemplateProblems(
            (TemplateProblem(file, 1, "a template starts with front matter between two lines of ---"),)
        )
    return SplitTemplate(file, fence[1], content[fence.end() :], content.count("\n", 0, fence.end()))


def _merged(base: FrontMatter, own: VariantMatter) -> FrontMatter:
    changed = {name: value for name in VariantMatter.model_fields if (value := getattr(own, name)) is not None}
    changed.pop("omits")
    if own.action is not None and base.action is not None:
        action = own.action
        changed["action"] = CallToAction(label=action.label or base.action.label, url=action.url or base.action.url)
    return base.model_copy(update=changed)


def _differences(
    file: str, own: VariantMatter, lines: Lines, base: TemplateSource, source: TemplateSource
) -> Iterator[TemplateProblem]:
    """Differences that a variant may not have: another action, other signals or answers, variables left out."""
    url = own.action.url if own.action is not None else None
    if url is not None and (base.matter.action is None or url != base.matter.action.url):
        expected = base.matter.action.url if base.matter.action else "no action"
        yield TemplateProblem(file, _line_of(lines, ("action", "url")), f"action.url: the template has {expected}")
    if own.items is not None and [item.signal for item in own.items] != [item.signal for item in base.matter.items]:
        yield TemplateProblem(file, _line_of(lines, ("items",)), "items: the template has other signals")
    if own.asks is not None and base.matter.asks is not None and not own.asks.same_answers(base.matter.asks):
        yield TemplateProblem(
            file, _line_of(lines, ("asks",)), "asks: the template has other answers; only the wording may differ"
        )
    for name in sorted(base.names_read - source.names_read - set(own.omits)):
        text = f"body: '{name}' is missing, which the template uses; use it, or list it under `omits`"
        yield TemplateProblem(file, 1, text)


def _front_matter(file: str, text: str, model: type[M]) -> tuple[M, Lines]:
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
            raise TemplateProblems((TemplateProblem(file, 1, "YAML aliases are not allowed in front matter"),))
        raw = yaml.safe_load(text)
    except yaml.MarkedYAMLError as fault:
        line = fault.problem_mark.line + 2 if fault.problem_mark else 1
        raise TemplateProblems((TemplateProblem(file, line, fault.problem or "is not YAML"),)) from None
    except (yaml.YAMLError, ValueError, RecursionError) as fault:
        raise TemplateProblems((TemplateProblem(file, 1, f"is not YAML: {fault}".splitlines()[0]),)) from None
    lines = _lines(root) if root is not None else {}
    try:
        return model.model_validate({} if raw is None and model is VariantMatter else raw), lines
    except ValidationError as fault:
        raise TemplateProblems(
            tuple(
                TemplateProblem(
                    file,
                    _line_of(lines, error["loc"]),
                    f"{'.'.join(map(str, error['loc'])) or 'front matter'}: {error['msg']}",
                )
                for error in fault.errors()
            )
        ) from None


def _checked(written: SplitTemplate, matter: FrontMatter, lines: Lines) -> TemplateSource:
    """Parse every Liquid piece. Raises TemplateProblems, with lines counted from the piece's first line in the file."""
    file, first_of_body = written.file, written.above + 1
    problems = [TemplateProblem(file, _line_of(lines, path), text) for path, text in unfit(matter)]
    pieces: list[Liquid] = []
    fields: set[str] = set()
    names: set[str] = set()
    action = matter.action or CallToAction.model_construct(label="", url="")
    for key, source, first in (
        ("subject", matter.subject, _line_of(lines, ("subject",))),
        ("action.label", action.label, _line_of(lines, ("action", "label"))),
        ("action.url", action.url, _line_of(lines, ("action", "url"))),
        ("body", written.body, first_of_body),
        *((f"items.{n}", item.label, _line_of(lines, ("items", n, "label"))) for n, item in enumerate(matter.items)),
    ):
        try:
            pieces.append(Liquid(source))
        except LiquidProblem as fault:
            problems.append(TemplateProblem(file, first + fault.line - 1, f"{key}: {fault.message}"))
            continue
        for read in pieces[-1].reads():
            if complaint := _complaint(read.path, matter):
                problems.append(TemplateProblem(file, first + read.line - 1, f"{key}: {complaint}"))
            elif read.path[0] in ("profile", "account"):
                fields.add(f"{read.path[0]}.{read.path[1]}")
            else:
                names.add(str(read.path[0]))
    if not written.body.strip():
        problems.append(TemplateProblem(file, first_of_body, "body: is empty"))
    if problems:
        raise TemplateProblems(tuple(problems))
    subject, label, url, body, *labels = pieces
    fields_read, names_read = frozenset(fields), frozenset(names - GIVEN)
    return TemplateSource(matter, subject, label, url, body, tuple(labels), fields_read, names_read, file)


def _complaint(path: tuple[str | None, ...], matter: FrontMatter) -> str:
    root = path[0]
    if root in ("profile", "account"):
        # Signals carry the fields that templates read and no others, so each must be named (H5).
        return "" if len(path) > 1 and path[1] else f"name a field of {root}"
    if root in matter.variables or root in GIVEN:
        return ""
    return f"'{root}' is not declared under variables"


def _lines(node: yaml.Node, path: tuple[Any, ...] = ()) -> Lines:
    """Line of every key and item. The fence is line 1, so YAML's line 0 is line 2."""
    lines: Lines = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            key_path = (*path, key.value)
            lines |= {key_path: key.start_mark.line + 2} | _lines(value, key_path)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            key_path = (*path, index)
            lines |= {key_path: value.start_mark.line + 2} | _lines(value, key_path)
    return lines


def _line_of(lines: Lines, path: tuple[Any, ...]) -> int:
    """Line of this key, or of the nearest enclosing key in the file."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)
