"""Permissions of events: what a key may send, of whom, and on which clock.

The rules are in `journeys/access/rules.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from api.http.auth import forbidden
from journeys.access.callers import PROVIDER, WRITE_KEY, ApiKey, CallerKind
from journeys.access.claimed_identities import as_claimed, without_closed_fields
from journeys.access.demands import EventDemands, RefusedPart
from journeys.access.refusals import AccessRefusal
from journeys.access.rules import UsedTestClock, refusal_of
from journeys.access.user_hash import USER_HASH, hash_in, is_proven
from journeys.consent.rules import ConsentRules
from journeys.events.inbound import InboundEvent
from journeys.events.tracking_plan import TrackingPlan


class EventPermissions:
    """Permissions of one deployment's events. `link_keys` are its keys of signed links."""

    def __init__(
        self, plan: TrackingPlan, rules: ConsentRules, link_keys: Sequence[str], *, in_production: bool
    ) -> None:
        self._demands = EventDemands(plan, rules)
        self._link_keys, self._in_production = link_keys, in_production

    def refused(self, key: ApiKey, event: InboundEvent, raw: Any = None) -> tuple[RefusedPart, ...]:
        """The parts of an event that its key may not send; `raw` is the call as it arrived, which may have a `userHash`."""
        proven = key.kind is CallerKind.PUBLIC and is_proven(self._link_keys, key, event.user_id, hash_in(raw))
        return self._demands.refused(key.caller, event, proven=proven)

    def as_permitted(self, key: ApiKey, event: InboundEvent, raw: Any) -> tuple[InboundEvent, tuple[RefusedPart, ...]]:
        """An event as its key may send it, and the parts for which it is refused; `raw` is the call as it arrived.

        Of a public key, identities without proof are claims, and fields that it may not write are left out.
        """
        if key.kind is not CallerKind.PUBLIC:
            return event, self._demands.refused(key.caller, event)
        proven = is_proven(self._link_keys, key, event.user_id, hash_in(raw))
        claimed = as_claimed(event, proven=proven)
        return without_closed_fields(claimed, self._demands.refused(key.caller, claimed, proven=proven))

    def with_implied(self, key: ApiKey, event: InboundEvent) -> InboundEvent:
        """The event with those fields of its context that its key may write: nobody has chosen to send the others."""
        fields = replace(event, kind="identify", traits=event.implied, context=None)
        refused = {part.part for part in self._demands.refused(key.caller, fields)}
        allowed = {name: value for name, value in event.implied.items() if f"traits/{name}" not in refused}
        return replace(event, implied=allowed)

    def refused_signal(self, key: ApiKey, signal: str | None) -> tuple[RefusedPart, ...]:
        """The refusal of an event that fails the plan: which signal it would be decides, if that is known."""
        return self._demands.refused_signal(key.caller, signal) if signal is not None else ()

    def check_provider(self, event: InboundEvent) -> None:
        """Raise ProblemError for an event that no provider may report."""
        refused = self._demands.refused(PROVIDER, event)
        if refused:
            raise forbidden(refused[0].reason)

    def check_clock(self, key: ApiKey, clock: str | None) -> None:
        """Raise ProblemError if a request names a test clock that its key may not use."""
        reason = refusal_of(key.caller, UsedTestClock(self._in_production)) if clock is not None else None
        if reason is not None:
            raise forbidden(reason)


def permitted(key: ApiKey, event: InboundEvent) -> InboundEvent:
    """A permitted event with its key, without the hash of its user id: who reads it could use it.

    That of a public key is marked as a stranger's word.
    """
    if event.context is not None and USER_HASH in event.context:
        context = {name: value for name, value in event.context.items() if name != USER_HASH}
        event = replace(event, context=context or None)
    if key.kind is CallerKind.PUBLIC:
        return replace(event, key_id=key.id, claimed=True)
    return event if key is WRITE_KEY else replace(event, key_id=key.id)


UNPROVEN_VISITOR = RefusedPart(AccessRefusal.UNPROVEN_USER, "anonymousId")
