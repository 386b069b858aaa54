"""Fields of identify and group calls: traits by the plan, and implied ones.

A trait that cannot be read is held for the quarantine; the others of its call count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, cast

from journeys.events.inbound import InboundEvent, RejectedEvent
from journeys.fields.table import LOCALE, ZONE, FieldOwner, FieldTable, ReadTraits, UnreadableTrait

FIELD_OWNERS: Final[Mapping[str, FieldOwner]] = {"identify": "profile", "group": "account"}
"""By call, whose fields its traits are."""
HELD_SUFFIX: Final = ":traits"
"""At the end of the message id of held traits: their call is accepted under its own."""
_MAX_ID: Final = 255


@dataclass(frozen=True, slots=True)
class CallFields:
    """The fields of a call by their own names; `implied` are those that only its context gives."""

    traits: Mapping[str, Any]
    implied: Mapping[str, Any] = field(default_factory=dict)
    unreadable: tuple[UnreadableTrait, ...] = ()


def fields_of_call(
    table: FieldTable, kind: str, traits: Mapping[str, Any], context: Mapping[str, Any] | None
) -> CallFields:
    """The fields of a call. In identify calls `context.traits` are traits that the call's own traits replace.

    `context.timezone` and `context.locale` are implied: libraries fill them in, and a trait replaces them.
    """
    owner = FIELD_OWNERS.get(kind)
    if owner is None:
        return CallFields(traits)
    read = table.read(owner, traits)
    if kind != "identify" or not context:
        return CallFields(read.values, unreadable=read.unreadable)
    if isinstance(more := context.get("traits"), Mapping):
        read = _completed(read, table.read(owner, more))
    return CallFields(read.values, _implied(table, context, read.values), read.unreadable)


def _completed(read: ReadTraits, more: ReadTraits) -> ReadTraits:
    """Traits with those of more whose fields they say nothing of, readable or not."""
    named = {*read.values, *(trait.field for trait in read.unreadable)}
    values = {name: value for name, value in more.values.items() if name not in named}
    unreadable = tuple(trait for trait in more.unreadable if trait.field not in named)
    return ReadTraits({**values, **read.values}, (*read.unreadable, *unreadable))


def _implied(table: FieldTable, context: Mapping[str, Any], traits: Mapping[str, Any]) -> Mapping[str, Any]:
    """Zone and language of a context, those that can be read; no library's slip is worth a quarantined event."""
    given = {
        name: value.strip()
        for name in (ZONE, LOCALE)
        if name not in traits and isinstance(value := context.get(name), str) and value.strip()
    }
    return {name: value for name, value in table.read("profile", given).values.items() if value is not None}


def with_fields(event: InboundEvent, table: FieldTable) -> InboundEvent:
    """An identify or group event with its traits as fields; those that cannot be read are held."""
    given = fields_of_call(table, event.kind, event.traits, event.context)
    held = _held(event, given.unreadable) if given.unreadable else None
    return replace(event, traits=given.traits, implied=given.implied, held=held)


def _held(event: InboundEvent, unreadable: tuple[UnreadableTrait, ...]) -> RejectedEvent:
    """The traits of a call that cannot be read, as a call of their own for the quarantine.

    Its ids and times are those of the call, so that a replay means the same person at the same instant.
    """
    raw, identity = event.raw or {}, _own_id(event.message_id)
    context = raw.get("context")
    call = {**raw, "messageId": identity, "traits": _nested(unreadable)}
    if isinstance(context, Mapping) and "traits" in context:
        call["context"] = {key: value for key, value in context.items() if key != "traits"}
    return RejectedEvent(identity, event.name, tuple(trait.what for trait in unreadable), call)


def _nested(unreadable: tuple[UnreadableTrait, ...]) -> dict[str, Any]:
    traits: dict[str, Any] = {}
    for trait in unreadable:
        *outer, last = trait.path
        inside = traits
        for part in outer:
            inside = cast("dict[str, Any]", inside.setdefault(part, {}))
        inside[last] = trait.value
    return traits


def _own_id(message_id: str) -> str:
    if len(message_id) + len(HELD_SUFFIX) <= _MAX_ID:
        return message_id + HELD_SUFFIX
    return hashlib.sha256(message_id.encode()).hexdigest() + HELD_SUFFIX
