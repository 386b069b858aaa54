"""Claimed identities: whom and what a public key names without proof.

Anybody can read a public key, so a user id without its hash, an account and an alias are claims. The event stays with its
visitor and keeps the claims in its context. Nobody is joined by them: a secret key or the hash (`user_hash.py`) does that.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from journeys.access.claims import KnownPerson, PersonIdentity, identity_in
from journeys.access.demands import RefusedPart
from journeys.events.inbound import InboundEvent
from journeys.events.reading_notes import CLAIMS, with_notes
from journeys.events.segment import MAX_ID

_APART: Final = "claimed:"
"""Before the anonymous id of a visitor who is a known user: without proof it names somebody else."""
_TRAIT: Final = "traits/"


def as_claimed(event: InboundEvent, *, proven: bool) -> InboundEvent:
    """An event as a public key may send it: of its visitor, or of the user whose hash it has (`proven`).

    `alias` and `group` become `identify` without traits. A user alone, without visitor and hash, has nobody to stay with:
    such an event is returned with its user.
    """
    visitor = event.anonymous_id or event.previous_id
    keeps_user = proven or visitor is None
    claims = {
        "userId": None if keeps_user else event.user_id,
        "previousId": event.previous_id,
        "groupId": event.account_id,
    }
    made = {name: value for name, value in claims.items() if value is not None}
    if not made:
        return event
    kept = {"anonymous_id", "user_id"} if keeps_user else {"anonymous_id"}
    claimed = replace(
        event,
        user_id=event.user_id if keeps_user else None,
        anonymous_id=event.anonymous_id if keeps_user else visitor,
        previous_id=None,
        account_id=None,
        context={**(event.context or {}), CLAIMS: made},
        padded=tuple(identity for identity in event.padded if identity[0] in kept),
    )
    is_join = event.kind in {"alias", "group"}
    return replace(claimed, kind="identify", name="identify", traits={}) if is_join else claimed


def without_closed_fields(
    event: InboundEvent, refused: Iterable[RefusedPart]
) -> tuple[InboundEvent, tuple[RefusedPart, ...]]:
    """An event without the fields that its key may not write, each with a note, and what else is refused of it."""
    fields = {part.part.removeprefix(_TRAIT): part for part in refused if part.part.startswith(_TRAIT)}
    others = tuple(part for part in refused if not part.part.startswith(_TRAIT))
    if not fields or others:
        return event, tuple(refused)
    traits: Mapping[str, Any] = {name: value for name, value in event.traits.items() if name not in fields}
    notes = [f"{part.part} was left out: {part.sentence}" for part in fields.values()]
    return replace(event, traits=traits, context=with_notes(event.context, notes)), ()


def placed_event(event: InboundEvent, people: Mapping[PersonIdentity, KnownPerson]) -> InboundEvent | None:
    """The event of a visitor's id, where a known user has the id by now as one of a visitor of its own.

    So nothing of the user's changes: an anonymous id proves nobody. `people` are those of the identities of the event and of
    `own_visitor_of` it. None if a user has that visitor's id, too.
    """
    if event.user_id is not None or not _is_user(people.get(identity_in(event))):
        return event
    (visitor,) = own_visitor_of(event)
    return None if _is_user(people.get(visitor)) else replace(event, anonymous_id=visitor[1], padded=())


def own_visitor_of(event: InboundEvent) -> tuple[PersonIdentity, ...]:
    """The visitor's identity of its own that an event without a user may be placed with."""
    if event.user_id is not None or event.anonymous_id is None:
        return ()
    made = f"{_APART}{event.anonymous_id}"
    if len(made) > MAX_ID:
        made = _APART + hashlib.sha256(event.anonymous_id.encode()).hexdigest()
    return (("anonymous_id", made),)


def _is_user(person: KnownPerson | None) -> bool:
    return person is not None and person.is_user
