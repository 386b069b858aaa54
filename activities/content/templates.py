"""Parsed templates by name.

Retired templates cannot be sent (C11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType

from activities.content.digest import COUNT, TITLES, RenderedDigest, check_digest_size
from activities.content.rendered import Rendered
from activities.content.template import Template
from activities.content.template_files import read_files
from activities.content.template_source import TemplateProblems
from activities.ports import FieldsUnknown, Outgoing, TemplateFault
from journeys.content.template_info import TemplateInfo


def _today() -> date:
    return datetime.now(UTC).date()


class Templates(Mapping[str, Template]):
    """Templates by name: `setup/first-steps` is the file `setup/first-steps.md` with its variants.

    `today` is the real day even for people on a test clock: review dates are dates of the company.
    """

    def __init__(self, templates: Mapping[str, Template], today: Callable[[], date] = _today) -> None:
        self._templates = MappingProxyType(dict(templates))
        self._today = today

    def use(self, newer: Templates) -> None:
        """Have the templates of a newer version of the catalogue."""
        self._templates = newer._templates

    def __getitem__(self, name: str) -> Template:
        return self._templates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._templates)

    def __len__(self) -> int:
        return len(self._templates)

    def must_be_urgent(self, name: str, channel: str) -> None:
        """Raises TemplateFault for a template that is not time-sensitive, which `channel` requires (C7)."""
        template = self._templates.get(name)
        if template is not None and not template.matter.time_sensitive:
            raise TemplateFault(f"{name} is not time-sensitive, and {channel} sends only such templates (C7)")

    def render(
        self, outgoing: Outgoing, unsubscribe_url: str = "", channel: str = "", locale: str | None = None
    ) -> Rendered:
        """The message for a channel. Raises TemplateFault, also for a template that is not in the catalogue."""
        template = self._templates.get(outgoing.template)
        if template is None:
            raise TemplateFault(f"{outgoing.template} is not in the catalogue")
        return template.render(outgoing, unsubscribe_url, channel, today=self._today(), locale=locale)

    def render_digest(
        self, name: str, items: Sequence[Outgoing], unsubscribe_url: str = "", channel: str = ""
    ) -> RenderedDigest:
        """Messages of one person, in order, under the digest template `name`.

        Raises TemplateFault if one cannot be rendered, `name` is no digest, or the digest is too large.
        """
        template = self._templates.get(name)
        if template is not None and template.matter.kind != "digest":
            raise TemplateFault(f"{name} is not a digest template")
        if not items:
            raise TemplateFault("a digest without messages")
        try:
            messages = tuple((item, self.render(item, unsubscribe_url, channel)) for item in items)
            check_digest_size(messages)
            data = {COUNT: len(messages), TITLES: [message.subject for _, message in messages]}
            introduction = self.render(replace(items[0], template=name, data=data, items=()), unsubscribe_url, channel)
        except FieldsUnknown as fault:
            raise TemplateFault(str(fault)) from None  # fields of one message say nothing about the digest
        return RenderedDigest(
            introduction.subject, introduction.blocks, messages, introduction.variant, introduction.lang
        )

    def due_for_review(self, today: date) -> tuple[Template, ...]:
        """Templates past their review date, the most overdue first (C11)."""
        due = (item for item in self.values() if item.overdue(today) and item.matter.status != "retired")
        return tuple(sorted(due, key=lambda item: (min(item.reviews()), item.name)))


def load_templates(folder: Path, today: Callable[[], date] = _today) -> Templates:
    """Every `*.md` below the folder, with the rules of `content.yaml` beside it. Raises TemplateProblems."""
    templates, problems = read_files(folder)
    if problems:
        raise TemplateProblems(tuple(problems))
    return Templates(templates, today)


def template_infos(folder: Path) -> Mapping[str, TemplateInfo]:
    """Facts for the checker of journeys, by template. Raises TemplateProblems."""
    return {name: template.info() for name, template in load_templates(folder).items()}
