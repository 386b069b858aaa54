"""Rendering of one template for one person: variant, variables, fields.

A missing field stops the message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from activities.content.front_matter import FrontMatter
from activities.content.liquid import Liquid, Unknown, unprotected
from activities.content.markup import parse_markup, safe_url
from activities.content.rendered import ChecklistLine, Rendered
from activities.content.template_source import TemplateSource
from activities.ports import FieldsUnknown, Outgoing, TemplateFault
from journeys.content.surveys import ANSWERED
from journeys.content.template_info import TemplateInfo
from journeys.content.variants import LOCALE, ContentRules, Sender, Variant, choose_variant, variant_traits
from journeys.tasks.team import Team

LONGEST_LINE = 250
"""Characters of a subject or a button; the rest of a longer one is cut."""
STAND_IN = "2000-01-01"
"""For a field that is not known, to find out which others are not: a text, a date, and no number."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template with its variants. `fields_read` (`profile.x`, `account.y`) must travel with every signal (H5)."""

    name: str
    source: TemplateSource
    variants: Mapping[Variant, TemplateSource] = field(default_factory=dict)
    rules: ContentRules = field(default_factory=ContentRules)
    team: Team = field(default_factory=Team)

    @property
    def matter(self) -> FrontMatter:
        return self.source.matter

    @property
    def fields_read(self) -> frozenset[str]:
        """By the words of every variant, by their choice, and by the sender's name."""
        read = self.source.fields_read.union(*(source.fields_read for source in self.variants.values()))
        by_tag = {dimension: each.from_ for dimension, each in self.rules.dimensions.items()}
        read |= {by_tag[name] for variant in self.variants for name, _ in variant.tags if name in by_tag}
        if any(variant.locale != self.rules.locales.default for variant in self.variants):
            read |= {LOCALE}
        if self.matter.from_ == "owner":
            read |= {self.rules.owner_sender.name, self.rules.owner_sender.reply_to}
            if any(person.signs is not None for person in self.team.people.values()):
                read |= {f"account.{self.team.owner}"}
        return read

    def info(self) -> TemplateInfo:
        """What the checker of journeys knows of it."""
        matter = self.matter
        variables = {name: variable for name, variable in matter.variables.items() if "." not in name}
        return TemplateInfo(
            name=self.name,
            variables=frozenset(variables),
            required=frozenset(name for name, variable in variables.items() if variable.default is None),
            types={name: variable.type for name, variable in variables.items()},
            fields=self.fields_read,
            awaits=(*(item.signal for item in matter.items), *((ANSWERED,) if matter.asks is not None else ())),
            kind=matter.kind,
            topic=matter.topic,
            channels=matter.channels,
            stage=matter.stage,
            role=matter.role,
            owner=matter.owner,
            status=matter.status,
            review_date=min(date_ for date_, _ in self.reviews()),
            time_sensitive=matter.time_sensitive,
        )

    def reviews(self) -> tuple[tuple[date, str], ...]:
        """When the template and each of its variants that may be sent must be looked at again, and by whom."""
        sources = (self.source, *(each for each in self.variants.values() if each.matter.status == "live"))
        return tuple((each.matter.review_date, each.matter.owner) for each in sources)

    def overdue(self, today: date) -> bool:
        """Whether somebody should have looked at it, or at a variant of it, by now."""
        return any(at < today for at, _ in self.reviews())

    def chosen(self, outgoing: Outgoing, channel: str, locale: str | None = None) -> tuple[Variant, TemplateSource]:
        """The variant for this person, and its source. Only live ones are chosen from."""
        person = variant_traits(self.rules, outgoing.profile, outgoing.account, channel, locale)
        live = [variant for variant, source in self.variants.items() if source.matter.status == "live"]
        found = choose_variant(self.rules, live, person)
        return found, self.variants.get(found, self.source)

    def render(
        self,
        outgoing: Outgoing,
        unsubscribe_url: str = "",
        channel: str = "",
        *,
        today: date,
        locale: str | None = None,
    ) -> Rendered:
        """The message for this person, if it may be sent. Raises TemplateFault."""
        _, source = self.chosen(outgoing, channel, locale)
        if fault := self.unsendable(source, today):
            raise TemplateFault(fault)
        return self.say(outgoing, unsubscribe_url, source)

    def say(self, outgoing: Outgoing, unsubscribe_url: str, source: TemplateSource) -> Rendered:
        """What a source says to this person, whether or not it may be sent. Raises TemplateFault."""
        scope = self.scope(outgoing) | {"unsubscribe_url": unsubscribe_url}
        variant = next(
            (each for each, one in self.variants.items() if one is source), Variant(self.rules.locales.default)
        )
        try:
            return self._rendered(source, variant, scope, outgoing)
        except TemplateFault as fault:
            said = f"{self.name}: {fault}"
            if isinstance(fault, Unknown) and fault.name in source.fields_read:
                raise FieldsUnknown(said, self.lacking(outgoing, source)) from None
            raise TemplateFault(said) from None

    def lacking(self, outgoing: Outgoing, source: TemplateSource) -> tuple[str, ...]:
        """The fields that it says without asking for them, and nobody has told: without these it cannot be said (H8)."""
        scope = self.scope(outgoing) | {"unsubscribe_url": ""}
        found: set[str] = set()
        for piece in (source.subject, source.label, source.url, source.body, *source.labels):
            while (name := _unknown_in(piece, scope)) is not None and name not in found:
                found.add(name)
                room, _, field_ = name.partition(".")
                if room in ("profile", "account"):
                    scope = {**scope, room: {**scope[room], field_: STAND_IN}}
                else:
                    scope = {**scope, name: STAND_IN}
        return tuple(sorted(found & source.fields_read))

    def unsendable(self, source: TemplateSource, today: date) -> str:
        """Why this may not be sent at all, or nothing (C11)."""
        if self.matter.status != "live":
            return f"{self.name} is {self.matter.status}"
        if self.rules.overdue == "refuse" and source.matter.review_date < today:
            return f"{self.name} was due for review on {source.matter.review_date}; its owner is {source.matter.owner}"
        return ""

    def _rendered(
        self, source: TemplateSource, variant: Variant, scope: Mapping[str, Any], outgoing: Outgoing
    ) -> Rendered:
        matter = source.matter
        asks = matter.action is not None
        return Rendered(
            subject=_one_line(source.subject.render(scope), "the subject"),
            blocks=parse_markup(source.body.render(scope)),
            action_label=_one_line(source.label.render(scope), "the action's label") if asks else "",
            action_url=safe_url(unprotected(source.url.render(scope))) if asks else "",
            topic=matter.topic,
            variant=variant.name(self.rules.locales.default),
            lang=variant.locale,
            kind=matter.kind,
            page=matter.page,
            anchor=matter.anchor,
            items=tuple(
                ChecklistLine(item.signal, _one_line(label.render(scope), "an item's label"))
                for item, label in zip(matter.items, source.labels, strict=True)
            ),
            asks=matter.asks,
            sender=self._sender(outgoing) if matter.from_ == "owner" else None,
        )

    def _sender(self, outgoing: Outgoing) -> Sender | None:
        """The account's manager: as the team has them, else by both fields if answers may go there; else who is declared instead."""
        manager = self.team.person_called(outgoing.account.get(self.team.owner))
        if manager is not None and (signs := self.team.people[manager].signs) is not None:
            return signs
        rules = self.rules.owner_sender
        name, reply_to = (_field(outgoing, path) for path in (rules.name, rules.reply_to))
        if not name or not reply_to or reply_to.rpartition("@")[2].lower() not in rules.reply_domains:
            return rules.otherwise
        try:
            return Sender(name=_one_line(name, "the sender's name")[:100], reply_to=reply_to)
        except ValueError:
            return rules.otherwise

    def scope(self, outgoing: Outgoing) -> dict[str, Any]:
        """What the author may name. A value that is missing or not of its type is not known, hence its default (H8)."""
        scope: dict[str, Any] = {"profile": _known(outgoing.profile), "account": _known(outgoing.account)}
        for name, variable in self.matter.variables.items():
            room, _, field_ = name.rpartition(".")
            given = scope[room] if room else outgoing.data
            value = variable.value_of(given.get(field_))
            value = value if value is not None else variable.value_of(variable.default)
            target = scope[room] if room else scope
            target.pop(field_, None)
            if value is not None:
                target[field_] = value
        return scope

    def missing(self, outgoing: Outgoing, source: TemplateSource) -> tuple[str, ...]:
        """What this source reads and nobody knows of this person: fields as `profile.x`, variables by their name."""
        scope = self.scope(outgoing)
        fields = (each for each in source.fields_read if each.partition(".")[2] not in scope[each.partition(".")[0]])
        return tuple(sorted((*fields, *(name for name in source.names_read if name not in scope))))


def _field(outgoing: Outgoing, path: str) -> str:
    room, _, name = path.partition(".")
    value = (outgoing.profile if room == "profile" else outgoing.account).get(name)
    return value if isinstance(value, str) else ""


def _unknown_in(piece: Liquid, scope: Mapping[str, Any]) -> str | None:
    """The first field or variable that stops it, if it is one that stops it."""
    try:
        piece.render(scope)
    except Unknown as fault:
        return fault.name
    except TemplateFault:
        return None
    return None


def _known(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _one_line(rendered: str, what: str) -> str:
    """Plain text on one line: a value with a line break in it must not end a header (CR/LF injection)."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in unprotected(rendered)).split())
    if not line:
        raise TemplateFault(f"{what} is empty")
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"
