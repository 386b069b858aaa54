"""Which of a template's variants a person gets: pure and total, so the same person always gets the same one (C9).

A variant is told by its file's name: `first-steps@admin+in_app.de.md` is for admins, in the app, in German. The closest
language wins; then a variant made for the channel; then the dimensions in the order in which `content.yaml` has them.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BeforeValidator, Field, StringConstraints

from journeys.language.actions import ChannelName, Model, Name
from journeys.language.problems import Path

CHANNEL: Final = "channel"
CHANNELS: Final[tuple[str, ...]] = get_args(ChannelName)
LOCALE: Final = "profile.locale"
BASE: Final = "base"
"""What the template's own file is called where variants are named."""

_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}")
FieldPath = Annotated[str, StringConstraints(pattern=r"^(profile|account)\.[a-z_][a-zA-Z0-9_]{0,63}$")]


def locale_tag(given: object) -> str | None:
    """A language tag in its usual spelling (`de-AT` of `de_at`, RFC 5646 §2.1.1), or None if it is none."""
    if not isinstance(given, str) or _LOCALE.fullmatch(given.strip()) is None:
        return None
    first, *rest = re.split("[-_]", given.strip())
    spelt = [part.upper() if len(part) == 2 else part.title() if len(part) == 4 else part.lower() for part in rest]
    return "-".join((first.lower(), *spelt))


def _tag(value: Any) -> Any:
    tag = locale_tag(value)
    if tag is None:
        raise ValueError("is no language tag such as de or de-AT")
    return tag


Locale = Annotated[str, BeforeValidator(_tag)]


class Locales(Model):
    """The languages that we write in. `fallback` says where somebody turns whose own we do not; `default` is the last."""

    default: Locale = "en"
    known: tuple[Locale, ...] = ()
    fallback: dict[Locale, Locale] = {}

    def is_known(self, tag: str) -> bool:
        return tag == self.default or tag in self.known

    def chain(self, given: object) -> tuple[str, ...]:
        """The languages to look for, the best first: declared fall-backs, else the tag cut short (RFC 4647 §3.4)."""
        found: list[str] = []
        at = locale_tag(given)
        while at and at not in found:
            found.append(at)
            at = self.fallback.get(at) or at.rpartition("-")[0]
        return (*found, self.default) if self.default not in found else tuple(found[: found.index(self.default) + 1])


class Dimension(Model):
    """Something by which people differ: the field that tells it, and the values that variants may be made for."""

    from_: Annotated[FieldPath, Field(alias="from")]
    values: tuple[Name, ...]


class Sender(Model):
    """Who a mail comes from, on our own address: a display name, and where answers go."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    reply_to: Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None


class OwnerSender(Model):
    """`from: owner`: the fields that name the account's manager, where answers may go, and who signs if nobody is known.

    Answers go to `reply_domains` only: a field that somebody can send us must not lead them to strangers.
    """

    name: FieldPath = "account.owner_name"
    reply_to: FieldPath = "account.owner_email"
    reply_domains: tuple[str, ...] = ()
    otherwise: Sender | None = None


class ContentRules(Model):
    """`catalog/content.yaml`: what variants there may be, and how strictly content is governed."""

    locales: Locales = Locales()
    dimensions: dict[Name, Dimension] = {}
    overdue: Literal["warn", "refuse"] = "warn"
    owner_sender: OwnerSender = OwnerSender()

    def faults(self) -> Iterator[tuple[Path, str]]:
        """What no model can see: circles, and names that would mean two things."""
        for start in self.locales.fallback:
            seen, at = [start], start
            while at:
                at = self.locales.fallback.get(at) or at.rpartition("-")[0]
                if at in seen:
                    yield ("locales", "fallback", start), f"goes in a circle: {' → '.join((*seen, at))}"
                    break
                seen.append(at)
        taken = dict.fromkeys(CHANNELS, CHANNEL)
        for name, dimension in self.dimensions.items():
            for index, value in enumerate(dimension.values):
                if value in taken:
                    yield ("dimensions", name, "values", index), f"{value} is a value of {taken[value]} already"
                taken.setdefault(value, name)

    @property
    def tags(self) -> Mapping[str, str]:
        """By value, the dimension that it belongs to, the most important first."""
        found = dict.fromkeys(CHANNELS, CHANNEL)
        for name, dimension in self.dimensions.items():
            found |= {value: name for value in dimension.values if value not in found}
        return found


@dataclass(frozen=True, slots=True)
class Variant:
    """Whom a variant is for: a language, and a value for each dimension it names. Without tags it is for everybody."""

    locale: str
    tags: tuple[tuple[str, str], ...] = ()

    def name(self, default: str) -> str:
        """As its file has it: `admin+in_app.de`, or `base`."""
        tags = "+".join(value for _, value in sorted(self.tags, key=lambda tag: tag[0] == CHANNEL))
        if self.locale == default:
            return tags or BASE
        return f"{tags}.{self.locale}" if tags else self.locale


@dataclass(frozen=True, slots=True)
class VariantTraits:
    """What of a person and a message decides: languages, the best first, and a value by dimension."""

    locales: tuple[str, ...]
    values: Mapping[str, str]


def variant_traits(
    rules: ContentRules, profile: Mapping[str, Any], account: Mapping[str, Any], channel: str, locale: str | None = None
) -> VariantTraits:
    """A person's traits by these rules. What is not known, or no value of its dimension, is simply not there."""
    values = {CHANNEL: channel}
    for name, dimension in rules.dimensions.items():
        room, _, field = dimension.from_.partition(".")
        value = (profile if room == "profile" else account).get(field)
        if isinstance(value, str) and value in dimension.values:
            values[name] = value
    return VariantTraits(rules.locales.chain(locale or profile.get("locale")), values)


def choose_variant(rules: ContentRules, variants: Collection[Variant], person: VariantTraits) -> Variant:
    """The variant for this person; the base, which is for everybody, if none fits better. Never raises."""
    order = (CHANNEL, *rules.dimensions)

    def rank(variant: Variant) -> tuple[Any, ...]:
        made_for = dict(variant.tags)
        return (person.locales.index(variant.locale), *(name not in made_for for name in order))

    fits = [
        each
        for each in variants
        if each.locale in person.locales and all(person.values.get(name) == value for name, value in each.tags)
    ]
    return min(fits, key=rank, default=Variant(rules.locales.default))


def read_variant(rules: ContentRules, suffix: str) -> Variant | tuple[str, ...]:
    """What follows a template's name in its file's (`@admin.de`): the variant, or all that is wrong with it."""
    tags, dot, locale = suffix.partition(".")
    wrong: list[str] = []
    tag = rules.locales.default if not dot else locale_tag(locale)
    if tag is None or not rules.locales.is_known(tag):
        wrong.append(f"'{locale}' is not one of the locales in content.yaml")
    named: dict[str, str] = {}
    dimension_of = rules.tags
    for value in tags.removeprefix("@").split("+") if tags else ():
        name = dimension_of.get(value)
        if name is None:
            known = ", ".join(dimension_of)
            wrong.append(f"'{value}' is no channel, and no value of a dimension in content.yaml; there are {known}")
        elif name in named:
            wrong.append(f"'{named[name]}' and '{value}' are both values of {name}: nobody has two")
        else:
            named[name] = value
    if wrong or tag is None:
        return tuple(wrong)
    return Variant(tag, tuple((name, named[name]) for name in (CHANNEL, *rules.dimensions) if name in named))
