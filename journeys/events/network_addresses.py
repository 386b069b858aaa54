"""IP addresses in events, replaced by keyed hashes before anything is stored.

Senders put an address into `context.ip` (Segment spec, common fields). Nothing decides by it; the hash is a proof of consent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from journeys.events.inbound import InboundEvent, ReceivedEvent, RejectedEvent
from journeys.tokens.address_hash import AddressHash

IP: Final = "ip"
IP_HASH: Final = "ip_hash"
_IN_TEXT: Final = re.compile(r'"ip": "(?:[^"\\]|\\.)*"')
"""The address in a call that is kept as the text of its JSON."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


def ip_hash(context: Mapping[str, Any] | None) -> str | None:
    """The hash that a stored context has, or None."""
    given = (context or {}).get(IP_HASH)
    return given if isinstance(given, str) and _DIGEST.fullmatch(given) else None


def with_ip_hash(values: Mapping[str, Any], addresses: AddressHash) -> dict[str, Any]:
    """Values with the hash of `ip` in its place, if they have one."""
    hashed = {name: value for name, value in values.items() if name != IP}
    given = values.get(IP)
    if isinstance(given, str) and given:
        hashed[IP_HASH] = addresses.digest(IP, given)
    return hashed


def event_with_ip_hash(event: ReceivedEvent, addresses: AddressHash) -> ReceivedEvent:
    """The event without an IP address, also in what it was read from."""
    match event:
        case InboundEvent(context=context, raw=raw, held=held):
            if IP not in (context or {}) and IP not in (raw or {}):
                return event
            hashed = context and with_ip_hash(context, addresses)
            held = held and replace(held, raw=_call(held.raw, addresses))
            return replace(event, context=hashed, raw=raw and _call(raw, addresses), held=held)
        case RejectedEvent(raw=raw, opt_out=opt_out):
            # The refusals in it are an event of their own.
            heard = opt_out and replace(opt_out, context=opt_out.context and with_ip_hash(opt_out.context, addresses))
            return replace(event, raw=_call(raw, addresses), opt_out=heard)


def _call(raw: Mapping[str, Any], addresses: AddressHash) -> dict[str, Any]:
    """A call as it arrived, at its top and in its context; a call that is kept as text loses it."""
    call = with_ip_hash(raw, addresses)
    if isinstance(context := call.get("context"), Mapping):
        call["context"] = with_ip_hash(context, addresses)
    if isinstance(text := call.get("unreadable"), str):
        call["unreadable"] = _IN_TEXT.sub('"ip": "removed"', text)
    return call
