"""Passes of the gate, row by row: what is asked of one person at one instant, and the plan that comes of it.

Ids are the handbook's. An outcome is written as a person would say it: `sent`, `with first`, `waits: cooldown`, `withheld: expired`,
`gave way to first`, or the status of what cannot be made.
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.gate.consolidation import MAX_PARTS
from journeys.gate.policy import load_policy
from journeys.gate.session import CannotSend, GateSession, MessageDecision, Plan
from journeys.gate.status import Status
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
    QueuedMessage,
    Reason,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    SentMessage,
    Withhold,
)

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)  # a Monday
PERSON = RecipientContext({"email": True, "in_app": True}, accounts=frozenset({"a_1", "a_2"}))
ONE_A_DAY = {"caps": [{"name": "a-day", "channel": "email", "limit": 1, "window": "P1D"}]}
COOLDOWN = {"cooldowns": [{"name": "breath", "channel": "email", "between": "PT20H"}]}
TOGETHER = {"consolidate": [{"name": "together", "channel": "email", "window": "PT4H"}]}
NO_TEMPLATE = CannotSend(Status.FAILED, "there is no such template", (Reason("template", "there is no such template"),))


def asked(key: str, **more: Any) -> SendRequest:
    """A message that a journey asks for now."""
    values = {"channels": ("email",), "topic": "tips", "priority": "lifecycle", "at": NOW, "journey": "education"}
    return SendRequest(**{**values, "key": key, "action": key, "template": f"tips/{key}", "run": "r", **more})


def lesser(key: str, **more: Any) -> SendRequest:
    return asked(key, priority="promotional", **more)


def waiting(key: str, *rules: str, hours: float = 2, priority: str = "lifecycle") -> QueuedMessage:
    """A message that is queued, for as long as these rules say."""
    due = NOW + timedelta(hours=hours)
    return QueuedMessage(key, due, ("email",), "tips", priority, key, rules=frozenset(rules))


def went_out(*ago: float) -> tuple[SentMessage, ...]:
    return tuple(
        SentMessage(NOW - timedelta(hours=hours), "email", "tips", "lifecycle", key=f"-{hours}") for hours in ago
    )


def decided(
    rules: dict[str, Any], *requests: SendRequest, context: RecipientContext = PERSON, cannot: Container[str] = ()
) -> Plan[str]:
    """The plan of a pass in which the messages `cannot` are those that cannot be made."""

    def made(request: SendRequest, channel: str) -> str | CannotSend:
        return NO_TEMPLATE if request.key in cannot else f"{request.key} by {channel}"

    return GateSession(load_policy(rules), context, NOW).decide(requests, made)


def outcomes(plan: Plan[str]) -> dict[str, str]:
    """By message, what becomes of it."""
    said = {decision.request.key: outcome(decision) for decision in plan.decisions}
    return said | {gone.key: f"gave way to {gone.verdict.by}" for each in plan.decisions for gone in each.gave_way}


def outcome(decision: MessageDecision[str]) -> str:
    if isinstance(decision.content, CannotSend):
        return decision.content.status
    match decision.verdict:
        case SendNow():
            return "sent"
        case MergeInto(head):
            return f"with {head}"
        case DeferUntil(_, reasons):
            return f"waits: {', '.join(reason.code for reason in reasons)}"
        case Replace(by):
            return f"gave way to {by}"
        case Withhold(reasons):
            return f"withheld: {', '.join(reason.code for reason in reasons)}"


def together(plan: Plan[str]) -> list[list[str]]:
    """What goes out, by keys: each list is one message."""
    return [[decision.request.key for decision in parts] for parts in plan.together]


@dataclass(frozen=True)
class Row:
    says: str
    rules: dict[str, Any]
    requests: tuple[SendRequest, ...]
    becomes: dict[str, str]
    context: RecipientContext = PERSON
    cannot: tuple[str, ...] = ()


TABLE = [
    Row(
        "without rules everything goes, each by itself",
        {},
        (asked("first"), asked("second")),
        {"first": "sent", "second": "sent"},
    ),
    # -- C2: caps and cooldowns ----------------------------------------------------------------------------------------
    Row(
        "C2 the first message of a pass takes the last place under a cap and the second waits",
        ONE_A_DAY,
        (asked("first"), asked("second")),
        {"first": "sent", "second": "waits: cap_reached"},
    ),
    Row(
        "C2 what cannot be made takes no place under a cap",
        ONE_A_DAY,
        (asked("first"), asked("second")),
        {"first": "failed", "second": "sent"},
        cannot=("first",),
    ),
    Row(
        "C2 what goes out begins the cooldown that the next message of the pass waits for",
        COOLDOWN,
        (asked("first"), asked("second")),
        {"first": "sent", "second": "waits: cooldown"},
    ),
    Row(
        "C2 a pressing message neither begins a cooldown nor waits for one",
        COOLDOWN,
        (asked("receipt", priority="transactional"), asked("first"), asked("ticket", priority="urgent_support")),
        {"receipt": "sent", "first": "sent", "ticket": "sent"},
    ),
    Row(
        "C2 what is tried again is not held back by its own attempt",
        ONE_A_DAY,
        (asked("again", alone=True, tried_by="email"),),
        {"again": "sent"},
        context=replace(PERSON, sent=(SentMessage(NOW, "email", "tips", "lifecycle", key="again"),)),
    ),
    Row(
        "C2 what may have arrived goes again by the channel of that attempt or not at all",
        {},
        (asked("again", channels=("in_app", "email"), alone=True, tried_by="email"),),
        {"again": "withheld: suppressed"},
        context=replace(PERSON, suppressed={"email": "hard_bounce"}),
    ),
    # -- C3: no longer true --------------------------------------------------------------------------------------------
    Row(
        "C3 a message whose state was left is withheld and takes nobody's place",
        ONE_A_DAY,
        (asked("late", holds=False), asked("old", expires_at=NOW), asked("second")),
        {"late": "withheld: state_left", "old": "withheld: expired", "second": "sent"},
    ),
    # -- C4: several become one ----------------------------------------------------------------------------------------
    Row(
        "C4 messages of a kind go together with the first of them",
        TOGETHER,
        (asked("first"), asked("second"), asked("third", topic="news")),
        {"first": "sent", "second": "with first", "third": "with first"},
    ),
    Row(
        "C4 what goes together is one message for caps and cooldowns over all",
        {**TOGETHER, **ONE_A_DAY, **COOLDOWN},
        (asked("first"), asked("second")),
        {"first": "sent", "second": "with first"},
    ),
    Row(
        "C4 each part counts for the cap of its own topic",
        {**TOGETHER, "caps": [{"name": "tips", "topic": "tips", "limit": 2, "window": "P1D"}]},
        (asked("first"), asked("second"), asked("third"), asked("fourth", topic="news")),
        {"first": "sent", "second": "with first", "third": "waits: cap_reached", "fourth": "with first"},
    ),
    Row(
        "C4 messages of other priorities or channels are no company",
        TOGETHER,
        (asked("first"), lesser("offer"), asked("inbox", channels=("in_app",)), lesser("other offer")),
        {"first": "sent", "offer": "sent", "inbox": "sent", "other offer": "with offer"},
    ),
    Row(
        "C4 a part that cannot be made is left out and the others go together",
        TOGETHER,
        (asked("first"), asked("second"), asked("third")),
        {"first": "sent", "second": "failed", "third": "with first"},
        cannot=("second",),
    ),
    Row(
        "C4 where the first cannot be made the next one takes the others along",
        TOGETHER,
        (asked("first"), asked("second"), asked("third")),
        {"first": "failed", "second": "sent", "third": "with second"},
        cannot=("first",),
    ),
    Row(
        "C4 what may have arrived takes nobody along and joins nobody",
        TOGETHER,
        (asked("again", alone=True), asked("first"), asked("once more", alone=True), asked("second")),
        {"again": "sent", "first": "sent", "once more": "sent", "second": "with first"},
    ),
    Row(
        "C4 a message waits for one of its kind that is due within the window",
        TOGETHER,
        (asked("first"),),
        {"first": "waits: consolidating"},
        context=replace(PERSON, queue=(waiting("tip", "breath"),)),
    ),
    Row(
        "C4 a message that was deferred in this pass is company for the next",
        {**TOGETHER, "quiet_hours": [{"name": "rest", "topic": "news", "start": "09:00", "end": "12:00"}]},
        (asked("news", topic="news"), asked("first")),
        {"news": "waits: quiet_hours", "first": "waits: consolidating"},
    ),
    Row(
        "C4 nobody waits for a digest that may have arrived",
        {**TOGETHER, "quiet_hours": [{"name": "rest", "topic": "news", "start": "09:00", "end": "12:00"}], **COOLDOWN},
        (asked("digest", topic="news", topics=("news", "tips"), alone=True), asked("first")),
        {"digest": "waits: quiet_hours", "first": "sent"},
    ),
    # -- C6: the lesser gives way --------------------------------------------------------------------------------------
    Row(
        "C6 a queued message that matters less gives way to one that goes and begins the cooldown anew",
        COOLDOWN,
        (asked("first"),),
        {"first": "sent", "offer": "gave way to first"},
        context=replace(PERSON, queue=(waiting("offer", "breath", priority="promotional"), waiting("tip", "breath"))),
    ),
    Row(
        "C6 a queued message that matters less gives way to one that waits for the same cooldown",
        COOLDOWN,
        (asked("first"),),
        {"first": "waits: cooldown", "offer": "gave way to first"},
        context=replace(PERSON, sent=went_out(18), queue=(waiting("offer", "breath", priority="promotional"),)),
    ),
    Row(
        "C6 a message that matters less than a queued one gives way at once",
        COOLDOWN,
        (lesser("offer"),),
        {"offer": "gave way to tip"},
        context=replace(PERSON, sent=went_out(18), queue=(waiting("tip", "breath"),)),
    ),
    Row(
        "C6 what waits for something else does not give way",
        COOLDOWN,
        (asked("first"),),
        {"first": "sent"},
        context=replace(PERSON, queue=(waiting("offer", "night", priority="promotional"),)),
    ),
    Row(
        "C6 what cannot be made replaces nobody, neither when it would go nor when it waits",
        COOLDOWN,
        (asked("first"),),
        {"first": "failed"},
        context=replace(PERSON, queue=(waiting("offer", "breath", priority="promotional"),)),
        cannot=("first",),
    ),
    Row(
        "C6 what cannot be made as things are replaces nobody while it waits",
        COOLDOWN,
        (asked("first"),),
        {"first": "waits: cooldown"},
        context=replace(PERSON, sent=went_out(18), queue=(waiting("offer", "breath", priority="promotional"),)),
        cannot=("first",),
    ),
    Row(
        "C6 a message that was deferred in this pass gives way to a later one that matters more",
        COOLDOWN,
        (lesser("offer"), asked("first")),
        {"offer": "gave way to first", "first": "waits: cooldown"},
        context=replace(PERSON, sent=went_out(18)),
    ),
    Row(
        "C6 a due message that gave way before its turn is not decided any more",
        COOLDOWN,
        (asked("first"), lesser("offer")),
        {"first": "sent", "offer": "gave way to first"},
        context=replace(PERSON, queue=(waiting("offer", "breath", hours=-1, priority="promotional"),)),
    ),
    Row(
        "C6 a due message goes if the one that matters more cannot be made",
        COOLDOWN,
        (asked("first"), lesser("offer")),
        {"first": "failed", "offer": "sent"},
        context=replace(PERSON, queue=(waiting("offer", "breath", hours=-1, priority="promotional"),)),
        cannot=("first",),
    ),
    # -- C7, C8: zones and accounts ------------------------------------------------------------------------------------
    Row(
        "C7 a message about an account keeps the hours of the zone that this account has",
        {"quiet_hours": [{"name": "night", "start": "21:00", "end": "08:00"}]},
        (asked("ours"), asked("theirs", account="a_1", zone="Pacific/Auckland")),
        {"ours": "sent", "theirs": "waits: quiet_hours"},
        context=replace(PERSON, zone="Europe/Vienna"),
    ),
    Row(
        "C8 a person of two accounts is told once, also in one pass",
        {},
        (asked("one", account="a_1", template="t"), asked("two", account="a_2", template="t"), asked("three")),
        {"one": "sent", "two": "withheld: told_already", "three": "sent"},
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.says)
def test_a_pass(row: Row) -> None:
    plan = decided(row.rules, *row.requests, context=row.context, cannot=row.cannot)
    assert outcomes(plan) == row.becomes
    assert sorted(key for parts in together(plan) for key in parts) == sorted(
        key for key, becomes in row.becomes.items() if becomes == "sent" or becomes.startswith("with ")
    )


# -- what the plan says of each ----------------------------------------------------------------------------------------


def test_C4_ten_go_together_and_the_next_begins_a_message_of_its_own() -> None:
    plan = decided(TOGETHER, *(asked(f"m{number}") for number in range(MAX_PARTS + 2)))
    assert together(plan) == [[f"m{number}" for number in range(10)], ["m10", "m11"]]


def test_C4_the_window_begins_when_a_message_could_have_gone_and_not_again_at_each_look() -> None:
    company = replace(PERSON, queue=(waiting("tip", "breath"),))
    (first,) = decided(TOGETHER, asked("first"), context=company).decisions
    assert (first.ready_at, first.queued and first.queued.due) == (NOW, NOW + timedelta(hours=2))
    before = NOW - timedelta(hours=1)
    (again,) = decided(TOGETHER, asked("first", ready_at=before), context=company).decisions
    assert again.ready_at == before
    (cooling,) = decided(COOLDOWN, asked("first", ready_at=before), context=replace(PERSON, sent=went_out(1))).decisions
    assert cooling.ready_at is None, "it does not wait for others any more"


def test_a_decision_says_how_its_message_counts_from_here_on() -> None:
    first, second = decided(COOLDOWN, asked("first"), asked("second", expires_at=NOW + timedelta(days=2))).decisions
    assert first.sent == SentMessage(NOW, "email", "tips", "lifecycle", "first", "education", "tips/first", key="first")
    assert first.content == "first by email"
    assert second.queued == QueuedMessage(
        "second", NOW + timedelta(hours=20), ("email",), "tips", "lifecycle", "second", "education",
        frozenset({"breath"}), NOW + timedelta(days=2),
    )  # fmt: skip


def test_C6_who_gives_way_hears_to_what() -> None:
    offer = replace(PERSON, queue=(waiting("offer", "breath", priority="promotional"),))
    (first,) = decided(COOLDOWN, asked("first"), context=offer).decisions
    assert [gone.verdict.reasons for gone in first.gave_way] == [(Reason("replaced", "first matters more"),)]


def test_only_what_may_go_is_made_and_what_would_replace_others_while_it_waits() -> None:
    made: list[tuple[str, str]] = []

    def make(request: SendRequest, channel: str) -> None:
        made.append((request.key, channel))

    context = replace(PERSON, queue=(waiting("offer", "breath", priority="promotional"),))
    session = GateSession(load_policy(COOLDOWN | ONE_A_DAY), context, NOW)
    requests = [
        asked("left", holds=False),
        asked("inbox", channels=("sms", "in_app")),
        asked("first"),
        asked("second"),
        lesser("third"),
    ]
    plan = session.decide(requests, make)
    assert made == [("inbox", "in_app"), ("first", "email")], "nobody gives way to the second any more"
    assert session.decide(requests, make) == plan, "a session keeps nothing of a pass"


# -- any pass ----------------------------------------------------------------------------------------------------------

A_REQUEST = st.tuples(
    st.sampled_from(["lifecycle", "promotional", "transactional"]), st.sampled_from(["tips", "news"]), st.booleans()
)


@given(
    wishes=st.lists(A_REQUEST, max_size=25), before=st.lists(st.integers(1, 30), max_size=3), limit=st.integers(1, 3)
)
def test_C2_C4_C6_every_message_has_one_end_and_no_rule_is_broken(
    wishes: list[tuple[str, str, bool]], before: list[int], limit: int
) -> None:
    caps = [{"name": "a-day", "channel": "email", "limit": limit, "window": "P1D"}]
    requests = [asked(f"m{n}", priority=priority, topic=topic) for n, (priority, topic, _) in enumerate(wishes)]
    cannot = {f"m{n}" for n, (*_, sound) in enumerate(wishes) if not sound}
    plan = decided(
        {"caps": caps, **COOLDOWN, **TOGETHER},
        *requests,
        context=replace(PERSON, sent=went_out(*before)),
        cannot=cannot,
    )
    keys = {request.key for request in requests}
    assert set(outcomes(plan)) == keys
    gone = [decision for parts in plan.together for decision in parts]
    assert not cannot & {decision.request.key for decision in gone}
    assert all(len({part.request.priority for part in parts}) == 1 for parts in plan.together)
    assert all(1 <= len(parts) <= MAX_PARTS for parts in plan.together)
    calm = [parts for parts in plan.together if parts[0].request.priority != "transactional"]
    assert len(calm) <= (0 if any(hours < 20 for hours in before) else 1), "a cooldown lets one out"
    assert len(calm) + sum(hours < 24 for hours in before) <= limit or not calm
