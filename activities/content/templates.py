"""Parsed templates by name.

Retired templates cannot be sent (C11).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from types import MappingProxyType

from activities.content.digest import COUNT, TITLES, RenderedDigest, bounded
from activities.content.rendered import Rendered
from activities.content.rendering import Template
from activities.content.template_files import read_files
from activities.content.template_source import TemplateProblems
from activities.ports import FieldsUnknown, Outgoing, TemplateFault
from journeys.content.template_info import TemplateInfo


def _today() -> date:
    return datetime.now(UTC).date()


class Templates(Mapping[str, Template]):
    """The catalogue, by name: `setup/first-steps` is `setup/first-steps.md` with its variants beside it.

    `today` is the real day, whatever clock people live by: content grows old in reality.
    """

    def __init__(self, templates: Mapping[str, Template], today: Callable[[], date] = _today) -> None:
        self._templates = MappingProxyType(dict(templates))
        self._today = today

    def __getitem__(self, name: str) -> Template:
        return self._templates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._templates)

    def __len__(self) -> int:
        return len(self._templates)

    def must_be_urgent(self, name: str, channel: str) -> None:
        """Raises TemplateFault for a template that is not time-sensitive: `channel` interrupts people (C7)."""
        template = self._templates.get(name)
        if template is not None and not template.matter.time_sensitive:
            raise TemplateFault(f"{name} is not marked time-sensitive, and {channel} takes no other (C7)")

    def render(
        self, outgoing: Outgoing, unsubscribe_url: str = "", channel: str = "", locale: str | None = None
    ) -> Rendered:
        """The message as `channel` has it. Raises TemplateFault, also for a template that is not in the catalogue."""
        template = self._templates.get(outgoing.template)
        if template is None:
            raise TemplateFault(f"{outgoing.template} is not in the catalogue")
        return template.render(outgoing, unsubscribe_url, channel, today=self._today(), locale=locale)

    def render_together(
        self, name: str, items: Sequence[Outgoing], unsubscribe_url: str = "", channel: str = ""
    ) -> RenderedDigest:
        """Several messages of one person under the digest template `name`, in the order given.

        Raises TemplateFault if one of them cannot be made (whoever asked then sends them one by one), if `name` is no
        digest, or if the whole is over its limits.
        """
        found = self._templates.get(name)
        if found is not None and found.matter.kind != "digest":
            raise TemplateFault(f"{name} is no digest")
        if not items:
            raise TemplateFault("a digest of nothing")
        try:
            made = tuple((item, self.render(item, unsubscribe_url, channel)) for item in items)
            bounded(made)
            data = {COUNT: len(made), TITLES: [each.subject for _, each in made]}
            around = self.render(replace(items[0], template=name, data=data, items=()), unsubscribe_url, channel)
        except FieldsUnknown as fault:
            raise TemplateFault(str(fault)) from None  # of one of them: nothing is known to lack for the others
        return RenderedDigest(around.subject, around.blocks, made, around.variant, around.lang)

    def due_for_review(self, today: date) -> tuple[Template, ...]:
        """Those whose review date has passed, the most overdue first: someone must look (C11)."""
        due = (each for each in self.values() if each.overdue(today) and each.matter.status != "retired")
        return tuple(sorted(due, key=lambda each: (min(each.reviews()), each.name)))


def load_templates(folder: Path, today: Callable[[], date] = _today) -> Templates:
    """Every `*.md` below the folder, by the rules of `content.yaml` beside it. Raises TemplateProblems with all faults."""
    found, problems = read_files(folder)
    if problems:
        raise TemplateProblems(tuple(problems))
    return Templates(found, today)


def template_infos(folder: Path) -> Mapping[str, TemplateInfo]:
    """What the checker of journeys knows of each template. Raises TemplateProblems."""
    return {name: template.info() for name, template in load_templates(folder).items()}
