"""Variants of a template by language, channel and dimension (C9).

The choice is pure and total: the same person always gets the same variant. A file's name declares its variant:
`first-steps@admin+in_app.de.md` is for admins, in the app, in German. The closest language wins, then a variant for the
channel, then the dimensions in the order of `content.yaml`.
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
"""The name of the variant without tags, in the default language."""

_LOCALE = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8}){0,3}")
FieldPath = Annotated[str, StringConstraints(pattern=r"^(profile|account)\.[a-z_][a-zA-Z0-9_]{0,63}$")]


def locale_tag(given: object) -> str | None:
    """A language tag in its usual spelling (`de-AT` for `de_at`, RFC 5646 §2.1.1); None for any other value."""
    if not isinstance(given, str) or _LOCALE.fullmatch(given.strip()) is None:
        return None
    language, *subtags = re.split("[-_]", given.strip())
    spelt = [tag.upper() if len(tag) == 2 else tag.title() if len(tag) == 4 else tag.lower() for tag in subtags]
    return "-".join((language.lower(), *spelt))


def _tag(value: Any) -> Any:
    tag = locale_tag(value)
    if tag is None:
        raise ValueError("is not a language tag such as de or de-AT")
    return tag


Locale = Annotated[str, BeforeValidator(_tag)]


class Locales(Model):
    """Languages of the templates: those `known`, the `fallback` of others, and the `default`."""

    default: Locale = "en"
    known: tuple[Locale, ...] = ()
    fallback: dict[Locale, Locale] = {}

    def is_known(self, tag: str) -> bool:
        return tag == self.default or tag in self.known

    def chain(self, given: object) -> tuple[str, ...]:
        """The languages to look for, best first: declared fallbacks, else the tag truncated (RFC 4647 §3.4)."""
        tags: list[str] = []
        tag = locale_tag(given)
        while tag and tag not in tags:
            tags.append(tag)
            tag = self.fallback.get(tag) or tag.rpartition("-")[0]
        return (*tags, self.default) if self.default not in tags else tuple(tags[: tags.index(self.default) + 1])


class Dimension(Model):
    """A dimension of variants: the field that decides, and its values."""

    from_: Annotated[FieldPath, Field(alias="from")]
    values: tuple[Name, ...]


class Sender(Model):
    """The sender of a mail on the company's own address: a display name, and Reply-To."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    reply_to: Annotated[str, StringConstraints(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")] | None = None


class OwnerSender(Model):
    """`from: owner`: the account fields with the owner's name and address, and the sender if they are unknown.

    Reply-To is in `reply_domains` only: any caller can set a field, and replies must not go to strangers.
    """

    name: FieldPath = "account.owner_name"
    reply_to: FieldPath = "account.owner_email"
    reply_domains: tuple[str, ...] = ()
    otherwise: Sender | None = None


class ContentRules(Model):
    """The content of `catalog/content.yaml`: languages, dimensions and rules for overdue content."""

    locales: Locales = Locales()
    dimensions: dict[Name, Dimension] = {}
    overdue: Literal["warn", "refuse"] = "warn"
    owner_sender: OwnerSender = OwnerSender()

    def faults(self) -> Iterator[tuple[Path, str]]:
        """Faults between fields: fallbacks in a circle, and values of two dimensions, each with its path."""
        for start in self.locales.fallback:
            seen, tag = [start], start
            while tag:
                tag = self.locales.fallback.get(tag) or tag.rpartition("-")[0]
                if tag in seen:
                    yield ("locales", "fallback", start), f"goes in a circle: {' → '.join((*seen, tag))}"
                    break
                seen.append(tag)
        dimension_of = dict.fromkeys(CHANNELS, CHANNEL)
        for name, dimension in self.dimensions.items():
            for index, value in enumerate(dimension.values):
                if value in dimension_of:
                    yield ("dimensions", name, "values", index), f"{value} is already a value of {dimension_of[value]}"
                dimension_of.setdefault(value, name)

    @property
    def tags(self) -> Mapping[str, str]:
        """The dimension of each value, the most important first."""
        dimension_of = dict.fromkeys(CHANNELS, CHANNEL)
        for name, dimension in self.dimensions.items():
            dimension_of |= {value: name for value in dimension.values if value not in dimension_of}
        return dimension_of


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant: its language, and a value for each dimension it names; without tags it is for everybody."""

    locale: str
    tags: tuple[tuple[str, str], ...] = ()

    def name(self, default: str) -> str:
        """The name as in its file: `admin+in_app.de`, or `base`."""
        tags = "+".join(value for _, value in sorted(self.tags, key=lambda tag: tag[0] == CHANNEL))
        if self.locale == default:
            return tags or BASE
        return f"{tags}.{self.locale}" if tags else self.locale


@dataclass(frozen=True, slots=True)
class VariantTraits:
    """The traits that decide the variant: languages of a person, best first, and values by dimension."""

    locales: tuple[str, ...]
    values: Mapping[str, str]


def variant_traits(
    rules: ContentRules, profile: Mapping[str, Any], account: Mapping[str, Any], channel: str, locale: str | None = None
) -> VariantTraits:
    """The traits of a person for a channel; a field that is unknown, or no value of its dimension, is left out."""
    values = {CHANNEL: channel}
    for name, dimension in rules.dimensions.items():
        scope, _, field = dimension.from_.partition(".")
        value = (profile if scope == "profile" else account).get(field)
        if isinstance(value, str) and value in dimension.values:
            values[name] = value
    return VariantTraits(rules.locales.chain(locale or profile.get("locale")), values)


def choose_variant(rules: ContentRules, variants: Collection[Variant], person: VariantTraits) -> Variant:
    """The variant for these traits; the base if none fits. Never raises."""
    order = (CHANNEL, *rules.dimensions)

    def rank(variant: Variant) -> tuple[Any, ...]:
        named = dict(variant.tags)
        return (person.locales.index(variant.locale), *(name not in named for name in order))

    def fits(variant: Variant) -> bool:
        return variant.locale in person.locales and all(
            person.values.get(name) == value for name, value in variant.tags
        )

    return min(filter(fits, variants), key=rank, default=Variant(rules.locales.default))


def read_variant(rules: ContentRules, suffix: str) -> Variant | tuple[str, ...]:
    """The variant of a file name's suffix (`@admin.de`), or every fault of the suffix."""
    tags, dot, locale = suffix.partition(".")
    faults: list[str] = []
    tag = rules.locales.default if not dot else locale_tag(locale)
    if tag is None or not rules.locales.is_known(tag):
        faults.append(f"'{locale}' is not one of the locales in content.yaml")
    named: dict[str, str] = {}
    dimension_of = rules.tags
    for value in tags.removeprefix("@").split("+") if tags else ():
        name = dimension_of.get(value)
        if name is None:
            known = ", ".join(dimension_of)
            faults.append(
                f"'{value}' is neither a channel nor a value of a dimension in content.yaml; there are {known}"
            )
        elif name in named:
            faults.append(f"'{named[name]}' and '{value}' are both values of {name}")
        else:
            named[name] = value
    if faults or tag is None:
        return tuple(faults)
    return Variant(tag, tuple((name, named[name]) for name in (CHANNEL, *rules.dimensions) if name in named))
