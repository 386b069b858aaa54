"""Rendering of one template for one person: variant, variables, fields.

Nothing is guessed: a variable that is missing and has no default stops the message (H8).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from activities.content.front_matter import FrontMatter
from activities.content.link_targets import LinkTargets
from activities.content.liquid import Liquid, Unknown, unprotected
from activities.content.markup import parse_markup
from activities.content.rendered import ChecklistLine, Rendered
from activities.content.template_source import TemplateSource
from activities.ports import Outgoing, TemplateFault
from journeys.content.variants import OwnerSender, Sender
from journeys.language.values import is_unknown
from journeys.tasks.team import Team

MAX_LINE: Final = 250
"""Characters of a subject or a button; a longer one is cut."""
PLACEHOLDER: Final = "2000-01-01"
"""Value for a missing field while the others are searched: valid as a text and as a date, not as a number."""


def fill_in(
    source: TemplateSource,
    scope: Mapping[str, Any],
    *,
    variant: str,
    lang: str,
    sender: Sender | None,
    targets: LinkTargets,
) -> Rendered:
    """A source rendered with the values of `scope`. Raises TemplateFault, or Unknown for a missing variable."""
    matter = source.matter
    has_action = matter.action is not None
    return Rendered(
        subject=one_line(source.subject.render(scope), "the subject"),
        blocks=parse_markup(source.body.render(scope), targets),
        action_label=one_line(source.label.render(scope), "the action's label") if has_action else "",
        action_url=targets.checked(source.url.render(scope)) if has_action else "",
        topic=matter.topic,
        variant=variant,
        lang=lang,
        kind=matter.kind,
        page=matter.page,
        anchor=matter.anchor,
        items=tuple(
            ChecklistLine(item.signal, one_line(label.render(scope), "an item's label"))
            for item, label in zip(matter.items, source.labels, strict=True)
        ),
        asks=matter.asks,
        sender=sender,
    )


def template_scope(matter: FrontMatter, outgoing: Outgoing) -> dict[str, Any]:
    """Values that a template may name. A missing or blank field, or a value of another type, has its default (H8)."""
    scope: dict[str, Any] = {"profile": _present(outgoing.profile), "account": _present(outgoing.account)}
    for name, variable in matter.variables.items():
        owner, _, field = name.rpartition(".")
        source = scope[owner] if owner else outgoing.data
        value = variable.value_of(source.get(field))
        value = value if value is not None else variable.value_of(variable.default)
        target = scope[owner] if owner else scope
        target.pop(field, None)
        if value is not None:
            target[field] = value
    return scope


def fields_needed(source: TemplateSource, scope: Mapping[str, Any]) -> frozenset[str]:
    """Fields and variables without which a source cannot be rendered in this scope (H8)."""
    missing: set[str] = set()
    for piece in (source.subject, source.label, source.url, source.body, *source.labels):
        while (name := _first_unknown(piece, scope)) is not None and name not in missing:
            missing.add(name)
            owner, _, field = name.partition(".")
            if owner in ("profile", "account"):
                scope = {**scope, owner: {**scope[owner], field: PLACEHOLDER}}
            else:
                scope = {**scope, name: PLACEHOLDER}
    return frozenset(missing)


def owner_sender(team: Team, rules: OwnerSender, outgoing: Outgoing) -> Sender | None:
    """The account's manager as sender: from `team.yaml`, else from the declared fields, else the declared fallback.

    Fields are used only if the reply address belongs to an allowed domain.
    """
    manager = team.person_called(outgoing.account.get(team.owner))
    if manager is not None and (sender := team.people[manager].signs) is not None:
        return sender
    name, reply_to = (_text_field(outgoing, path) for path in (rules.name, rules.reply_to))
    if not name or not reply_to or reply_to.rpartition("@")[2].lower() not in rules.reply_domains:
        return rules.otherwise
    try:
        return Sender(name=one_line(name, "the sender's name")[:100], reply_to=reply_to)
    except ValueError:
        return rules.otherwise


def one_line(rendered: str, noun: str) -> str:
    """Plain text on one line: a line break in a value must not end a header (CR/LF injection). Raises TemplateFault."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in unprotected(rendered)).split())
    if not line:
        raise TemplateFault(f"{noun} is empty")
    return line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "…"


def _text_field(outgoing: Outgoing, path: str) -> str:
    owner, _, name = path.partition(".")
    value = (outgoing.profile if owner == "profile" else outgoing.account).get(name)
    return value if isinstance(value, str) else ""


def _first_unknown(piece: Liquid, scope: Mapping[str, Any]) -> str | None:
    """The first missing variable that stops this piece, if one does."""
    try:
        piece.render(scope)
    except Unknown as fault:
        return fault.name
    except TemplateFault:
        return None
    return None


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if not is_unknown(value)}
