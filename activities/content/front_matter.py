"""Front matter of templates: owner, purpose, action, channels, variables (C9, C11)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from journeys.content.surveys import Survey
from journeys.content.template_info import TemplateStatus
from journeys.language.actions import ChannelName, Model, Name, Scalar, SignalName, Text
from journeys.language.values import coerce

TemplateKind = Literal["message", "checklist", "tooltip", "guide", "survey", "digest"]
ValueType = Literal["string", "int", "double", "bool", "timestamp", "strings"]
CONFIRM_URL, CONFIRM_TOPIC = "confirm_url", "confirm_topic"
GIVEN = frozenset({"unsubscribe_url", CONFIRM_URL, CONFIRM_TOPIC})
"""Variables that the gate and the channel give, so that no event and no profile can."""
VariableName = Annotated[str, StringConstraints(pattern=r"^((profile|account)\.)?[a-z_][a-zA-Z0-9_]{0,63}$")]
LiquidText = Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=r"^[^\r\n]*$")]
PagePattern = Annotated[str, StringConstraints(max_length=200, pattern=r"^/[^\s?#%]*$")]
"""A path of the product; `*` matches anything: `/settings/*`."""
ElementAnchor = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\s<>\"]*$")]


class Variable(Model):
    """A variable from an action's `data`, or a field such as `profile.x`; `default` replaces a missing value."""

    type: ValueType
    default: Scalar | tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _default_fits(self) -> Variable:
        if self.default is not None and self.value_of(self.default) is None:
            raise ValueError(f"the default is not a {self.type}")
        return self

    def value_of(self, given: Any) -> Any:
        """The value converted to the declared type, or None if that is impossible."""
        return coerce(list(given) if isinstance(given, tuple) else given, self.type)


class CallToAction(Model):
    """The one action of a message (C9)."""

    label: LiquidText
    url: LiquidText


class ChecklistItem(Model):
    """One line of a checklist; it is completed when the signal is accepted for the person."""

    signal: SignalName
    label: LiquidText


def _day(value: Any) -> Any:
    """Reject numbers, which pydantic reads as seconds since 1970."""
    if not isinstance(value, date | str):
        raise ValueError("give a day such as 2026-12-31")  # noqa: TRY004 — pydantic reports ValueError
    return value


ReviewDate = Annotated[date, BeforeValidator(_day)]


class FrontMatter(Model):
    """Front matter of a template.

    `page` and `anchor` say where in the product a tooltip or a guide appears. With `from: owner` the account's manager signs.
    """

    owner: Name
    topic: Name
    stage: Name
    role: Name | None = None
    kind: TemplateKind = "message"
    action: CallToAction | None = None
    review_date: ReviewDate
    status: TemplateStatus
    channels: Annotated[tuple[ChannelName, ...], Field(min_length=1)] = ("email",)
    subject: LiquidText
    variables: dict[VariableName, Variable] = Field(default_factory=dict)
    title: Text | None = None
    page: PagePattern | None = None
    anchor: ElementAnchor | None = None
    items: Annotated[tuple[ChecklistItem, ...], Field(max_length=20)] = ()
    asks: Survey | None = None
    from_: Annotated[Literal["house", "owner"], Field(alias="from")] = "house"
    time_sensitive: bool = False
    trigger: Text | None = None

    @model_validator(mode="after")
    def _urgent_because(self) -> FrontMatter:
        """A message that may interrupt people states what makes it urgent (C7)."""
        if self.time_sensitive != (self.trigger is not None):
            raise ValueError("time_sensitive: true and a trigger, such as 'your export is ready', belong together (C7)")
        return self


class VariantAction(Model):
    """The template's action in other words. The URL stays: another one would be another action."""

    label: LiquidText | None = None
    url: LiquidText | None = None


class VariantMatter(Model):
    """What a variant changes of its template's front matter. `omits` are variables that it need not mention."""

    owner: Name | None = None
    action: VariantAction | None = None
    review_date: ReviewDate | None = None
    status: TemplateStatus | None = None
    subject: LiquidText | None = None
    title: Text | None = None
    items: Annotated[tuple[ChecklistItem, ...], Field(max_length=20)] | None = None
    asks: Survey | None = None
    omits: tuple[VariableName, ...] = ()


_IN_APP_ONLY = ("checklist", "tooltip", "guide", "survey")
_IN_PLACE = ("tooltip", "guide")


def unfit(matter: FrontMatter) -> Iterator[tuple[tuple[str, ...], str]]:
    """Problems of keys that a kind requires or forbids: path of the key, and message."""
    kind = matter.kind
    if kind == "message" and matter.action is None:
        yield ("action",), "action: Field required"
    if kind == "digest" and matter.action is not None:
        yield ("action",), "action: each message in a digest has its own; the digest itself has none"
    if kind in _IN_APP_ONLY and matter.channels != ("in_app",):
        yield ("channels",), f"channels: a {kind} appears in the product only: [in_app]"
    yield from _given_names(matter)
    for name in ("page", "anchor"):
        if kind in _IN_PLACE and getattr(matter, name) is None:
            yield ("kind",), f"{name}: a {kind} needs one, to know where it appears"
        elif getattr(matter, name) is not None and matter.channels != ("in_app",):
            yield (name,), f"{name}: only what appears in the product alone has one"
    for name, its, given, needs, only in (
        ("items", "checklist", bool(matter.items), "a checklist needs at least one", "only a checklist has them"),
        ("asks", "survey", bool(matter.asks), "a survey needs a scale or choices", "only a survey asks something"),
    ):
        if kind == its and not given:
            yield ("kind",), f"{name}: {needs}"
        if kind != its and given:
            yield (name,), f"{name}: {only}"


def _given_names(matter: FrontMatter) -> Iterator[tuple[tuple[str, ...], str]]:
    for name in sorted(GIVEN & matter.variables.keys()):
        yield ("variables", name), f"variables: {name} is given by Tenure, so no journey can give it"
