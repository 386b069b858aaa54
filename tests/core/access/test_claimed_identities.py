"""A public key's event keeps its visitor, and what it names without proof becomes a claim."""

from __future__ import annotations

from typing import Any

import pytest

from journeys.access.callers import Caller, CallerKind
from journeys.access.claimed_identities import as_claimed, own_visitor_of, placed_event, without_closed_fields
from journeys.access.claims import KnownPerson
from journeys.access.demands import RefusedPart
from journeys.access.refusals import AccessRefusal
from journeys.access.rules import PageCall, refusal_of
from journeys.events.inbound import CallKind, InboundEvent
from journeys.events.segment import MAX_ID

VISITOR: dict[str, Any] = {"anonymous_id": "device"}
USER: dict[str, Any] = {"user_id": "ada"}


def event(kind: CallKind = "track", **more: Any) -> InboundEvent:
    return InboundEvent(kind, "m", "pricing_viewed" if kind == "track" else kind, **more)


CASES: dict[str, tuple[InboundEvent, bool, tuple[str | None, str | None], dict[str, str]]] = {
    "a visitor": (event(**VISITOR), False, (None, "device"), {}),
    "a user without hash": (event(**USER, **VISITOR), False, (None, "device"), {"userId": "ada"}),
    "a user with hash": (event(**USER, **VISITOR), True, ("ada", "device"), {}),
    "a user alone": (event(**USER), False, ("ada", None), {}),
    "an account": (event(**VISITOR, account_id="acme"), False, (None, "device"), {"groupId": "acme"}),
    "an account of a user with hash": (event(**USER, account_id="acme"), True, ("ada", None), {"groupId": "acme"}),
    "an account of a user alone": (event(**USER, account_id="acme"), False, ("ada", None), {"groupId": "acme"}),
    "an alias": (
        event("alias", **USER, previous_id="before"), False, (None, "before"), {"userId": "ada", "previousId": "before"},
    ),
    "an alias of a visitor": (
        event("alias", **USER, **VISITOR, previous_id="before"), False, (None, "device"), {"userId": "ada", "previousId": "before"},
    ),
    "an alias with hash": (event("alias", **USER, previous_id="before"), True, ("ada", None), {"previousId": "before"}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_identities_without_proof_are_claims(name):
    given, proven, people, claims = CASES[name]
    made = as_claimed(given, proven=proven)
    assert (made.user_id, made.anonymous_id) == people
    assert (made.account_id, made.previous_id) == (None, None)
    assert (made.context or {}).get("$claims", {}) == claims
    if not claims:
        assert made is given


@pytest.mark.parametrize("kind", ["group", "alias"])
def test_a_call_that_joins_becomes_an_identify_call_without_traits(kind):
    given = event(kind, **USER, **VISITOR, account_id="acme", previous_id="before", traits={"plan": "free"})
    for proven in (False, True):
        made = as_claimed(given, proven=proven)
        assert (made.kind, made.name, made.traits) == ("identify", "identify", {})


def test_blanks_of_an_id_that_is_a_claim_are_nobodys_conflict():
    padded = (("user_id", " ada"), ("anonymous_id", " device"), ("account_id", " acme"))
    given = event(**USER, **VISITOR, account_id="acme", padded=padded)
    assert as_claimed(given, proven=False).padded == (("anonymous_id", " device"),)
    assert as_claimed(given, proven=True).padded == (("user_id", " ada"), ("anonymous_id", " device"))


def test_closed_fields_are_left_out_unless_something_else_is_refused():
    given = event("identify", **VISITOR, traits={"plan": "free", "locale": "de"}, context={"$notes": ["before"]})
    plan = RefusedPart(AccessRefusal.FIELD_NOT_PUBLIC, "traits/plan")
    made, refused = without_closed_fields(given, (plan,))
    assert (made.traits, refused) == ({"locale": "de"}, ())
    before, note = (made.context or {})["$notes"]
    assert (before, note) == ("before", f"traits/plan was left out: {plan.sentence}")
    grant = RefusedPart(AccessRefusal.GRANT, "consent")
    assert without_closed_fields(given, (plan, grant)) == (given, (plan, grant))
    assert without_closed_fields(given, ()) == (given, ())


def test_a_visitors_id_that_a_user_has_names_a_visitor_of_its_own():
    given, known = event(**VISITOR), KnownPerson("u_1", is_user=True)
    own = ("anonymous_id", "claimed:device")
    assert placed_event(given, {}) is given
    assert placed_event(given, {("anonymous_id", "device"): KnownPerson("u_1", is_user=False)}) is given
    placed = placed_event(given, {("anonymous_id", "device"): known})
    assert placed is not None
    assert (placed.anonymous_id, placed.user_id) == ("claimed:device", None)
    assert placed_event(given, {("anonymous_id", "device"): known, own: known}) is None
    proven = event(**USER, **VISITOR)
    assert placed_event(proven, {("anonymous_id", "device"): known, ("user_id", "ada"): known}) is proven


def test_the_visitors_own_id_is_never_too_long():
    ((_, made),) = own_visitor_of(event(anonymous_id="x" * MAX_ID))
    ((_, other),) = own_visitor_of(event(anonymous_id="x" * (MAX_ID - 1) + "y"))
    assert max(len(made), len(other)) <= MAX_ID
    assert made != other
    assert own_visitor_of(event(**USER)) == ()


@pytest.mark.parametrize("kind", CallerKind)
def test_only_a_public_key_is_bound_to_the_origins_of_pages(kind):
    refused = refusal_of(Caller(kind), PageCall(allowed=False))
    assert refused is (AccessRefusal.ORIGIN if kind is CallerKind.PUBLIC else None)
    assert refusal_of(Caller(kind), PageCall(allowed=True)) is None
