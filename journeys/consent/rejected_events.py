"""Opt-outs in calls that are rejected for another reason (C5).

An opt-out counts although its call goes to quarantine: nothing of it is accepted but the opt-out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from journeys.calendar.sender_instants import sender_instant
from journeys.consent.rules import ConsentRules
from journeys.consent.statements import TRAITS, statements_in
from journeys.events.ids.placeholder_ids import PLACEHOLDER_IDS
from journeys.events.inbound import InboundEvent
from journeys.events.segment import MAX_ID, FieldFault, is_absurd, read_identity, read_object, timestamp_in

SUFFIX: Final = ":opt-out"
"""At the end of the message id of an opt-out; the call may be replayed from quarantine under its own."""


def opt_out_in(
    rules: ConsentRules,
    raw: Mapping[str, Any],
    kind: str,
    signal: str,
    message_id: str,
    sent_at: datetime | None = None,
    placeholders: frozenset[str] = PLACEHOLDER_IDS,
) -> InboundEvent | None:
    """The opt-outs of a rejected call, as an `identify` call with nothing else; None if it has none, or no person.

    A time that cannot be read is left out: then the opt-out is of now.
    """
    faults: list[FieldFault] = []  # the call is rejected already
    user_id, anonymous_id = (read_identity(raw, name, faults, placeholders) for name in ("userId", "anonymousId"))
    if kind not in {"identify", "track"} or (user_id or anonymous_id) is None:
        return None
    traits, data, context = (read_object(raw, name, faults) for name in ("traits", "properties", "context"))
    if kind == "identify" and TRAITS.isdisjoint(traits):
        return None
    call = InboundEvent("identify" if kind == "identify" else "track", message_id, signal, data=data, traits=traits)
    consents = _refusals(rules, call)
    if not consents:
        return None
    timestamp = timestamp_in(raw, [])
    sent = sender_instant(raw.get("sentAt")) or sent_at
    return InboundEvent(
        "identify",
        _own_id(message_id, SUFFIX),
        "identify",
        user_id=user_id,
        anonymous_id=anonymous_id if user_id is None else None,
        traits={"consents": consents},
        context=context or None,
        timestamp=timestamp,
        sent_at=None if is_absurd(timestamp, sent) else sent,
    )


def opt_out_of(rules: ConsentRules, event: InboundEvent, mark: str) -> InboundEvent | None:
    """The opt-outs of an event that was read and is rejected by the store; None if it has none, or no person.

    `mark` distinguishes several such events of one message id.
    """
    if event.kind not in {"identify", "track"} or (event.user_id or event.anonymous_id) is None:
        return None
    consents = _refusals(rules, event)
    return (
        replace(
            event,
            kind="identify",
            message_id=_own_id(event.message_id, f":{mark}{SUFFIX}"),
            name="identify",
            anonymous_id=event.anonymous_id if event.user_id is None else None,
            account_id=None,
            data={},
            traits={"consents": consents},
            raw=None,
        )
        if consents
        else None
    )


def _refusals(rules: ConsentRules, event: InboundEvent) -> dict[str, dict[str, bool]]:
    """The refusals of an event, by channel and topic."""
    consents: dict[str, dict[str, bool]] = {}
    for stated in statements_in(rules, event):
        if stated.granted is False:
            consents.setdefault(stated.channel, {})[stated.topic] = False
    return consents


def _own_id(message_id: str, suffix: str) -> str:
    """The message id of the opt-outs of an event."""
    return f"{message_id[: MAX_ID - len(suffix)]}{suffix}"
