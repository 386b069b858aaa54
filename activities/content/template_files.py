"""Files of templates and variants, with every problem in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from activities.content.template import Template
from activities.content.template_source import (
    TemplateProblem,
    TemplateProblems,
    TemplateSource,
    parse_template,
    read_variant_source,
)
from journeys.content.link_domains import LinkDomains
from journeys.content.variants import CHANNEL, ContentRules, Variant, read_variant
from journeys.gate.policy import Policy
from journeys.language.actions import TemplateName
from journeys.language.parsing import read_model
from journeys.tasks.team import Team, read_team

RULES: Final = "content.yaml"
POLICY: Final = "policy.yaml"
TEAM: Final = "team.yaml"
_NAME: TypeAdapter[str] = TypeAdapter(TemplateName)


def read_files(folder: Path) -> tuple[dict[str, Template], list[TemplateProblem]]:
    """Templates below a folder by name, and the problems of unreadable ones and of `content.yaml`."""
    rules, problems = read_rules(folder.parent / RULES)
    templates, more = assemble(rules, ((path, stem(path, folder)) for path in sorted(folder.rglob("*.md"))))
    team, links = _team(folder.parent / TEAM), read_link_domains(folder.parent / POLICY)
    problems += [*more, *unlisted_links(templates, links)]
    return {name: replace(template, team=team, links=links) for name, template in templates.items()}, problems


def _team(path: Path) -> Team:
    """The team whose members may sign. Problems of the file are reported where tasks are assigned by it."""
    team = read_team(path.read_bytes())[0] if path.is_file() else None
    return team or Team()


def read_link_domains(path: Path) -> LinkDomains:
    """The domains that links may lead to, by `policy.yaml`. Problems of the file are reported where the gate reads it."""
    policy = read_model(path.read_bytes(), Policy)[0] if path.is_file() else None
    return LinkDomains(policy.link_domains if policy is not None else None)


def unlisted_links(templates: Mapping[str, Template], links: LinkDomains) -> Iterator[TemplateProblem]:
    """A problem for each URL written out in a template that leads to a domain that the policy does not list."""
    for template in templates.values() if links.listed is not None else ():
        for source in (template.source, *template.variants.values()):
            for line, host in links.unlisted(Path(source.file).read_text("utf-8")):
                text = f"a link leads to {host}, which policy.yaml does not list under link_domains"
                yield TemplateProblem(source.file, line, text)


def stem(path: Path, folder: Path) -> str:
    """`setup/first-steps@admin.de` for a file below the folder."""
    return path.relative_to(folder).as_posix().removesuffix(".md")


def name_of(stem_: str) -> tuple[str, str]:
    """Name and variant suffix: `("setup/first-steps", "@admin.de")`."""
    folder, slash, file = stem_.rpartition("/")
    cut = min((at for at in (file.find("@"), file.find(".")) if at >= 0), default=len(file))
    return f"{folder}{slash}{file[:cut]}", file[cut:]


def read_rules(path: Path) -> tuple[ContentRules, list[TemplateProblem]]:
    """Rules of `content.yaml`; without the file one language and no dimensions."""
    if not path.is_file():
        return ContentRules(), []
    rules, source = read_model(path.read_bytes(), ContentRules)
    if rules is None:
        return ContentRules(), [
            TemplateProblem(str(path), problem.line or 1, f"{problem.place}: {problem.what}")
            for problem in source.problems
        ]
    faults = [(at, text, source.position(at)[0]) for at, text in rules.faults()]
    return rules, [TemplateProblem(str(path), line, f"{'.'.join(map(str, at))}: {text}") for at, text, line in faults]


def assemble(
    rules: ContentRules, files: Iterable[tuple[Path, str]]
) -> tuple[dict[str, Template], list[TemplateProblem]]:
    """Templates by name from files with their stems; a variant joins the template of its name."""
    bases: dict[str, TemplateSource] = {}
    broken: set[str] = set()
    variant_files: list[tuple[Path, str, str]] = []
    problems: list[TemplateProblem] = []
    for path, stem_ in files:
        name, suffix = name_of(stem_)
        if suffix:
            variant_files.append((path, name, suffix))
            continue
        try:
            bases[name] = parse_template(str(path), _text(path, name))
        except TemplateProblems as fault:
            problems.extend(fault.problems)
            broken.add(name)
    variants: dict[str, dict[Variant, TemplateSource]] = {name: {} for name in bases}
    for path, name, suffix in variant_files:
        try:
            _add(rules, variants, path, (name, suffix), bases.get(name), is_there=name in bases or name in broken)
        except TemplateProblems as fault:
            problems.extend(fault.problems)
    return {name: Template(name, source, variants[name], rules) for name, source in bases.items()}, problems


def _add(
    rules: ContentRules,
    variants: dict[str, dict[Variant, TemplateSource]],
    path: Path,
    named: tuple[str, str],
    base: TemplateSource | None,
    *,
    is_there: bool,
) -> None:
    """Read one variant. Raises TemplateProblems with every problem."""
    name, suffix = named
    problems: list[TemplateProblem] = []
    if not is_there:
        problems.append(
            TemplateProblem(str(path), 1, f"{name}.md is missing: people without a variant of their own get it")
        )
    variant = read_variant(rules, suffix)
    if isinstance(variant, tuple):
        problems.extend(TemplateProblem(str(path), 1, text) for text in variant)
    elif base is not None:
        channel = dict(variant.tags).get(CHANNEL)
        if channel is not None and channel not in base.matter.channels:
            problems.append(TemplateProblem(str(path), 1, f"{name} is not sent by {channel}"))
        if variant in variants[name] or variant == Variant(rules.locales.default):
            problems.append(TemplateProblem(str(path), 1, "another file has the same variant"))
    source = None
    try:
        source = read_variant_source(str(path), _text(path, name), base)
    except TemplateProblems as fault:
        problems.extend(fault.problems)
    if problems:
        raise TemplateProblems(tuple(problems))
    if source is not None and isinstance(variant, Variant):
        variants[name][variant] = source


def _text(path: Path, name: str) -> str:
    try:
        _NAME.validate_python(name)
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        reason = "is not UTF-8"
    except ValidationError:
        reason = f"'{name}' is not a template's name: a-z, 0-9, - and _ only"
    raise TemplateProblems((TemplateProblem(str(path), 1, reason),))
