"""Cache of parsed template files for one test process.

Parsing is pure and slow, and every test that builds a worker would do it again. The key is the bytes of the files, so a
test that writes other templates gets those. A copy of a file elsewhere is not parsed again either.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from activities.content import template_files, templates
from activities.content.template import Template
from activities.content.template_files import POLICY, RULES, TEAM, read_files
from activities.content.template_source import TemplateProblem, TemplateSource, parse_template

Parsed = tuple[dict[str, Template], list[TemplateProblem]]


@contextmanager
def templates_parsed_once() -> Iterator[None]:
    """Parse each state of a template folder once, for as long as the body runs."""
    parsed: dict[tuple[tuple[Path, bytes], ...], Parsed] = {}

    def remembered(folder: Path) -> Parsed:
        beside = (folder.parent / name for name in (POLICY, RULES, TEAM))
        files = [*sorted(folder.rglob("*.md")), *(path for path in beside if path.is_file())]
        state = (folder, b""), *((path, path.read_bytes()) for path in files)
        if state not in parsed:
            parsed[state] = read_files(folder)
        found_templates, problems = parsed[state]
        return dict(found_templates), list(problems)

    sources: dict[str, TemplateSource] = {}

    def remembered_source(file: str, content: str) -> TemplateSource:
        if content not in sources:
            sources[content] = parse_template(file, content)
        return replace(sources[content], file=file)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(templates, "read_files", remembered)
        patch.setattr(template_files, "parse_template", remembered_source)
        yield
