"""The catalogue of templates: parsed once, rendered often. What is retired cannot be sent (C11)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from activities.liquid_engine import plain
from activities.markup import Block, parse, safe_url
from activities.ports import Outgoing, TemplateFault
from activities.template_source import FrontMatter, Problem, Source, TemplateProblems, read_source
from journeys.definition import TemplateName
from journeys.templates import TemplateInfo

LONGEST_LINE = 250
"""Characters of a subject or a button; the rest of a longer one is cut."""

_NAME: TypeAdapter[str] = TypeAdapter(TemplateName)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What a message says, in no channel's dress: every text is plain, every address safe to link to."""

    subject: str
    blocks: tuple[Block, ...]
    action_label: str
    action_url: str
    topic: str


@dataclass(frozen=True, slots=True)
class Template:
    """One file of the catalogue. `fields_read` (`profile.x`, `account.y`) must travel with every signal (H5)."""

    name: str
    source: Source

    @property
    def matter(self) -> FrontMatter:
        return self.source.matter

    @property
    def fields_read(self) -> frozenset[str]:
        return self.source.fields_read

    def info(self) -> TemplateInfo:
        """What the checker of journeys knows of it."""
        matter = self.matter
        variables = {name: variable for name, variable in matter.variables.items() if "." not in name}
        return TemplateInfo(
            name=self.name,
            variables=frozenset(variables),
            required=frozenset(name for name, variable in variables.items() if variable.default is None),
            fields=self.fields_read,
            topic=matter.topic,
            channels=matter.channels,
            stage=matter.stage,
            role=matter.role,
            owner=matter.owner,
            status=matter.status,
            review_date=matter.review_date,
            time_sensitive=matter.time_sensitive,
        )

    def render(self, outgoing: Outgoing, unsubscribe_url: str = "") -> Rendered:
        """The message for this person. Raises TemplateFault."""
        if self.matter.status != "live":
            raise TemplateFault(f"{self.name} is {self.matter.status}")
        scope = self._scope(outgoing) | {"unsubscribe_url": unsubscribe_url}
        try:
            return Rendered(
                subject=_one_line(self.source.subject.render(scope), "the subject"),
                blocks=parse(self.source.body.render(scope)),
                action_label=_one_line(self.source.label.render(scope), "the action's label"),
                action_url=safe_url(plain(self.source.url.render(scope))),
                topic=self.matter.topic,
            )
        except TemplateFault as fault:
            raise TemplateFault(f"{self.name}: {fault}") from None

    def _scope(self, outgoing: Outgoing) -> dict[str, Any]:
        """What the author may name. A value that is missing or not of its type is not known, hence its default (H8)."""
        scope: dict[str, Any] = {"profile": _known(outgoing.profile), "account": _known(outgoing.account)}
        for name, variable in self.matter.variables.items():
            room, _, field = name.rpartition(".")
            given = scope[room] if room else outgoing.data
            value = variable.value_of(given.get(field))
            value = value if value is not None else variable.value_of(variable.default)
            target = scope[room] if room else scope
            target.pop(field, None)
            if value is not None:
                target[field] = value
        return scope


class Templates(Mapping[str, Template]):
    """The catalogue, by name: `setup/first-steps` is `setup/first-steps.md`."""

    def __init__(self, templates: Mapping[str, Template]) -> None:
        self._templates = MappingProxyType(dict(templates))

    def __getitem__(self, name: str) -> Template:
        return self._templates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._templates)

    def __len__(self) -> int:
        return len(self._templates)

    def render(self, outgoing: Outgoing, unsubscribe_url: str = "") -> Rendered:
        """Raises TemplateFault, also for a template that is not in the catalogue."""
        template = self._templates.get(outgoing.template)
        if template is None:
            raise TemplateFault(f"{outgoing.template} is not in the catalogue")
        return template.render(outgoing, unsubscribe_url)

    def due_for_review(self, today: date) -> tuple[Template, ...]:
        """Those whose review date has passed, the most overdue first: still sent, but someone must look (C11)."""
        due = (each for each in self.values() if each.matter.review_date < today and each.matter.status != "retired")
        return tuple(sorted(due, key=lambda each: (each.matter.review_date, each.name)))


def read_template(path: Path, name: str) -> Template:
    """One file, under the name that journeys call it by. Raises TemplateProblems with every fault of it."""
    try:
        return Template(_NAME.validate_python(name), read_source(str(path), path.read_text("utf-8")))
    except UnicodeDecodeError:
        what = "is not UTF-8"
    except ValidationError:
        what = f"'{name}' is not a template's name: a-z, 0-9, - and _ only"
    raise TemplateProblems((Problem(str(path), 1, what),))


def load_templates(folder: Path) -> Templates:
    """Every `*.md` below the folder. Raises TemplateProblems with the faults of all files at once."""
    found: dict[str, Template] = {}
    problems: list[Problem] = []
    for path in sorted(folder.rglob("*.md")):
        name = path.relative_to(folder).with_suffix("").as_posix()
        try:
            found[name] = read_template(path, name)
        except TemplateProblems as fault:
            problems.extend(fault.problems)
    if problems:
        raise TemplateProblems(tuple(problems))
    return Templates(found)


def template_infos(folder: Path) -> Mapping[str, TemplateInfo]:
    """What the checker of journeys knows of each template. Raises TemplateProblems."""
    return {name: template.info() for name, template in load_templates(folder).items()}


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _one_line(rendered: str, what: str) -> str:
    """Plain text on one line: a value with a line break in it must not end a header (CR/LF injection)."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in plain(rendered)).split())
    if not line:
        raise TemplateFault(f"{what} is empty")
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"
