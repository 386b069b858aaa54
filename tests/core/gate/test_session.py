"""Gate sessions, row by row: requests for one person at one instant, and the resulting plan.

Ids are those of the handbook. Outcomes are `sent`, `with first` (merged into `first`), `waits: cooldown`,
`withheld: expired`, `gave way to first`, or the status of a message that cannot be rendered.
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
from journeys.gate.queue import QueuedMessage
from journeys.gate.session import CannotSend, GateSession, MessageDecision, Plan
from journeys.gate.status import Status
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
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


def request(key: str, **more: Any) -> SendRequest:
    """A message that a journey requests now."""
    values = {"channels": ("email",), "topic": "tips", "priority": "lifecycle", "at": NOW, "journey": "education"}
    return SendRequest(**{**values, "key": key, "action": key, "template": f"tips/{key}", "run": "r", **more})


def promotional(key: str, **more: Any) -> SendRequest:
    return request(key, priority="promotional", **more)


def queued(key: str, *rules: str, hours: float = 2, priority: str = "lifecycle") -> QueuedMessage:
    """A queued message that these rules defer."""
    due = NOW + timedelta(hours=hours)
    return QueuedMessage(key, due, NOW, ("email",), "tips", priority, key, rules=frozenset(rules))


def sent_hours_ago(*ago: float) -> tuple[SentMessage, ...]:
    return tuple(
        SentMessage(NOW - timedelta(hours=hours), "email", "tips", "lifecycle", key=f"-{hours}") for hours in ago
    )


def decided(
    rules: dict[str, Any], *requests: SendRequest, context: RecipientContext = PERSON, cannot: Container[str] = ()
) -> Plan[str]:
    """The plan of a pass in which the messages `cannot` cannot be rendered."""

    def render(request: SendRequest, channel: str) -> str | CannotSend:
        return NO_TEMPLATE if request.key in cannot else f"{request.key} by {channel}"

    return GateSession(load_policy(rules), context, NOW).decide(requests, render)


def outcomes(plan: Plan[str]) -> dict[str, str]:
    """The outcome of each message, by key."""
    decided_outcomes = {decision.request.key: outcome(decision) for decision in plan.decisions}
    return decided_outcomes | {
        gone.key: f"gave way to {gone.verdict.by}" for decision in plan.decisions for gone in decision.gave_way
    }


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
    """Keys of the messages that are sent: each list is one message."""
    return [[decision.request.key for decision in parts] for parts in plan.together]


@dataclass(frozen=True)
class Row:
    name: str
    rules: dict[str, Any]
    requests: tuple[SendRequest, ...]
    becomes: dict[str, str]
    context: RecipientContext = PERSON
    cannot: tuple[str, ...] = ()


TABLE = [
    Row(
        "without rules every message is sent alone",
        {},
        (request("first"), request("second")),
        {"first": "sent", "second": "sent"},
    ),
    # -- C2: caps and cooldowns ----------------------------------------------------------------------------------------
    Row(
        "C2 the first message of a pass takes the last place under a cap and the second waits",
        ONE_A_DAY,
        (request("first"), request("second")),
        {"first": "sent", "second": "waits: cap_reached"},
    ),
    Row(
        "C2 a message that cannot be rendered does not count for a cap",
        ONE_A_DAY,
        (request("first"), request("second")),
        {"first": "failed", "second": "sent"},
        cannot=("first",),
    ),
    Row(
        "C2 a sent message starts the cooldown that defers the next message of the pass",
        COOLDOWN,
        (request("first"), request("second")),
        {"first": "sent", "second": "waits: cooldown"},
    ),
    Row(
        "C2 a transactional message neither starts a cooldown nor waits for one",
        COOLDOWN,
        (request("receipt", priority="transactional"), request("first"), request("ticket", priority="urgent_support")),
        {"receipt": "sent", "first": "sent", "ticket": "sent"},
    ),
    Row(
        "C2 a retry is not deferred by its own earlier attempt",
        ONE_A_DAY,
        (request("again", alone=True, tried_by="email"),),
        {"again": "sent"},
        context=replace(PERSON, sent=(SentMessage(NOW, "email", "tips", "lifecycle", key="again"),)),
    ),
    Row(
        "C2 a message that may have arrived is retried by the channel of its attempt or not at all",
        {},
        (request("again", channels=("in_app", "email"), alone=True, tried_by="email"),),
        {"again": "withheld: suppressed"},
        context=replace(PERSON, suppressed={"email": "hard_bounce"}),
    ),
    # -- C3: relevance -------------------------------------------------------------------------------------------------
    Row(
        "C3 a message that is withheld does not count for a cap",
        ONE_A_DAY,
        (request("late", holds=False), request("old", expires_at=NOW), request("second")),
        {"late": "withheld: state_left", "old": "withheld: expired", "second": "sent"},
    ),
    # -- C4: digests ---------------------------------------------------------------------------------------------------
    Row(
        "C4 messages of one channel and priority are merged into the first",
        TOGETHER,
        (request("first"), request("second"), request("third", topic="news")),
        {"first": "sent", "second": "with first", "third": "with first"},
    ),
    Row(
        "C4 a digest counts once for general caps and cooldowns",
        {**TOGETHER, **ONE_A_DAY, **COOLDOWN},
        (request("first"), request("second")),
        {"first": "sent", "second": "with first"},
    ),
    Row(
        "C4 each part counts for the cap of its own topic",
        {**TOGETHER, "caps": [{"name": "tips", "topic": "tips", "limit": 2, "window": "P1D"}]},
        (request("first"), request("second"), request("third"), request("fourth", topic="news")),
        {"first": "sent", "second": "with first", "third": "waits: cap_reached", "fourth": "with first"},
    ),
    Row(
        "C4 messages of other priorities or channels are not merged",
        TOGETHER,
        (request("first"), promotional("offer"), request("inbox", channels=("in_app",)), promotional("other offer")),
        {"first": "sent", "offer": "sent", "inbox": "sent", "other offer": "with offer"},
    ),
    Row(
        "C4 a part that cannot be rendered is left out of the digest",
        TOGETHER,
        (request("first"), request("second"), request("third")),
        {"first": "sent", "second": "failed", "third": "with first"},
        cannot=("second",),
    ),
    Row(
        "C4 if the first message cannot be rendered the next one becomes the head",
        TOGETHER,
        (request("first"), request("second"), request("third")),
        {"first": "failed", "second": "sent", "third": "with second"},
        cannot=("first",),
    ),
    Row(
        "C4 a message that may have arrived is sent alone",
        TOGETHER,
        (request("again", alone=True), request("first"), request("once more", alone=True), request("second")),
        {"again": "sent", "first": "sent", "once more": "sent", "second": "with first"},
    ),
    Row(
        "C4 a message waits for a queued one that is due within the window",
        TOGETHER,
        (request("first"),),
        {"first": "waits: consolidating"},
        context=replace(PERSON, queue=(queued("tip", "breath"),)),
    ),
    Row(
        "C4 a message waits for one that was deferred earlier in the pass",
        {**TOGETHER, "quiet_hours": [{"name": "rest", "topic": "news", "start": "09:00", "end": "12:00"}]},
        (request("news", topic="news"), request("first")),
        {"news": "waits: quiet_hours", "first": "waits: consolidating"},
    ),
    Row(
        "C4 no message waits for a digest that may have arrived",
        {**TOGETHER, "quiet_hours": [{"name": "rest", "topic": "news", "start": "09:00", "end": "12:00"}], **COOLDOWN},
        (request("digest", topic="news", topics=("news", "tips"), alone=True), request("first")),
        {"digest": "waits: quiet_hours", "first": "sent"},
    ),
    # -- C6: replacement -----------------------------------------------------------------------------------------------
    Row(
        "C6 a queued message of lower priority is replaced by one that is sent and starts its cooldown",
        COOLDOWN,
        (request("first"),),
        {"first": "sent", "offer": "gave way to first"},
        context=replace(PERSON, queue=(queued("offer", "breath", priority="promotional"), queued("tip", "breath"))),
    ),
    Row(
        "C6 a queued message of lower priority is replaced by one that waits for the same cooldown",
        COOLDOWN,
        (request("first"),),
        {"first": "waits: cooldown", "offer": "gave way to first"},
        context=replace(PERSON, sent=sent_hours_ago(18), queue=(queued("offer", "breath", priority="promotional"),)),
    ),
    Row(
        "C6 a message of lower priority than a queued one is replaced at once",
        COOLDOWN,
        (promotional("offer"),),
        {"offer": "gave way to tip"},
        context=replace(PERSON, sent=sent_hours_ago(18), queue=(queued("tip", "breath"),)),
    ),
    Row(
        "C6 a message that waits for another rule is not replaced",
        COOLDOWN,
        (request("first"),),
        {"first": "sent"},
        context=replace(PERSON, queue=(queued("offer", "night", priority="promotional"),)),
    ),
    Row(
        "C6 a message that cannot be rendered replaces no queued message when it would be sent",
        COOLDOWN,
        (request("first"),),
        {"first": "failed"},
        context=replace(PERSON, queue=(queued("offer", "breath", priority="promotional"),)),
        cannot=("first",),
    ),
    Row(
        "C6 a message that cannot be rendered replaces no queued message while it waits",
        COOLDOWN,
        (request("first"),),
        {"first": "waits: cooldown"},
        context=replace(PERSON, sent=sent_hours_ago(18), queue=(queued("offer", "breath", priority="promotional"),)),
        cannot=("first",),
    ),
    Row(
        "C6 a message deferred in this pass is replaced by a later one of higher priority",
        COOLDOWN,
        (promotional("offer"), request("first")),
        {"offer": "gave way to first", "first": "waits: cooldown"},
        context=replace(PERSON, sent=sent_hours_ago(18)),
    ),
    Row(
        "C6 a due message that was replaced before its turn is not decided",
        COOLDOWN,
        (request("first"), promotional("offer")),
        {"first": "sent", "offer": "gave way to first"},
        context=replace(PERSON, queue=(queued("offer", "breath", hours=-1, priority="promotional"),)),
    ),
    Row(
        "C6 a due message is sent if the one of higher priority cannot be rendered",
        COOLDOWN,
        (request("first"), promotional("offer")),
        {"first": "failed", "offer": "sent"},
        context=replace(PERSON, queue=(queued("offer", "breath", hours=-1, priority="promotional"),)),
        cannot=("first",),
    ),
    # -- C7, C8: zones and accounts ------------------------------------------------------------------------------------
    Row(
        "C7 a message about an account follows quiet hours in the account's zone",
        {"quiet_hours": [{"name": "night", "start": "21:00", "end": "08:00"}]},
        (request("ours"), request("theirs", account="a_1", zone="Pacific/Auckland")),
        {"ours": "sent", "theirs": "waits: quiet_hours"},
        context=replace(PERSON, zone="Europe/Vienna"),
    ),
    Row(
        "C8 a person of two accounts receives the same template once, also in one pass",
        {},
        (request("one", account="a_1", template="t"), request("two", account="a_2", template="t"), request("three")),
        {"one": "sent", "two": "withheld: told_already", "three": "sent"},
    ),
]


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_a_pass_has_the_outcomes_of_its_row(row: Row) -> None:
    plan = decided(row.rules, *row.requests, context=row.context, cannot=row.cannot)
    assert outcomes(plan) == row.becomes
    assert sorted(key for parts in together(plan) for key in parts) == sorted(
        key for key, becomes in row.becomes.items() if becomes == "sent" or becomes.startswith("with ")
    )


# -- the decisions of a plan -------------------------------------------------------------------------------------------


def test_C4_a_digest_has_at_most_ten_parts_and_the_next_message_starts_another() -> None:
    plan = decided(TOGETHER, *(request(f"m{number}") for number in range(MAX_PARTS + 2)))
    assert together(plan) == [[f"m{number}" for number in range(10)], ["m10", "m11"]]


def test_C4_the_window_starts_when_the_message_could_be_sent_and_is_not_restarted() -> None:
    context = replace(PERSON, queue=(queued("tip", "breath"),))
    (first,) = decided(TOGETHER, request("first"), context=context).decisions
    assert (first.ready_at, first.queued and first.queued.due) == (NOW, NOW + timedelta(hours=2))
    before = NOW - timedelta(hours=1)
    (second,) = decided(TOGETHER, request("first", ready_at=before), context=context).decisions
    assert second.ready_at == before
    (cooling,) = decided(
        COOLDOWN, request("first", ready_at=before), context=replace(PERSON, sent=sent_hours_ago(1))
    ).decisions
    assert cooling.ready_at is None, "it no longer waits for others"


def test_a_decision_contains_the_sent_or_queued_message_for_later_decisions() -> None:
    first, second = decided(COOLDOWN, request("first"), request("second", expires_at=NOW + timedelta(days=2))).decisions
    assert first.sent == SentMessage(NOW, "email", "tips", "lifecycle", "first", "education", "tips/first", key="first")
    assert first.content == "first by email"
    assert second.queued == QueuedMessage(
        "second", NOW + timedelta(hours=20), NOW, ("email",), "tips", "lifecycle", "second", "education",
        frozenset({"breath"}), NOW + timedelta(days=2),
    )  # fmt: skip


def test_C6_a_replaced_message_has_the_replacing_one_as_reason() -> None:
    context = replace(PERSON, queue=(queued("offer", "breath", priority="promotional"),))
    (first,) = decided(COOLDOWN, request("first"), context=context).decisions
    assert [replaced.verdict.reasons for replaced in first.gave_way] == [
        (Reason("replaced", "first has a higher priority"),)
    ]


def test_only_messages_that_are_sent_or_replace_others_are_rendered() -> None:
    rendered: list[tuple[str, str]] = []

    def render(request: SendRequest, channel: str) -> None:
        rendered.append((request.key, channel))

    context = replace(PERSON, queue=(queued("offer", "breath", priority="promotional"),))
    session = GateSession(load_policy(COOLDOWN | ONE_A_DAY), context, NOW)
    requests = [
        request("left", holds=False),
        request("inbox", channels=("sms", "in_app")),
        request("first"),
        request("second"),
        promotional("third"),
    ]
    plan = session.decide(requests, render)
    assert rendered == [("inbox", "in_app"), ("first", "email")], "the second replaces no message any more"
    assert session.decide(requests, render) == plan, "a session keeps no state of a pass"


# -- properties of any pass --------------------------------------------------------------------------------------------

A_REQUEST = st.tuples(
    st.sampled_from(["lifecycle", "promotional", "transactional"]), st.sampled_from(["tips", "news"]), st.booleans()
)


@given(drawn=st.lists(A_REQUEST, max_size=25), before=st.lists(st.integers(1, 30), max_size=3), limit=st.integers(1, 3))
def test_C2_C4_C6_every_message_has_one_outcome_and_no_rule_is_broken(
    drawn: list[tuple[str, str, bool]], before: list[int], limit: int
) -> None:
    caps = [{"name": "a-day", "channel": "email", "limit": limit, "window": "P1D"}]
    requests = [request(f"m{n}", priority=priority, topic=topic) for n, (priority, topic, _) in enumerate(drawn)]
    cannot = {f"m{n}" for n, (*_, can_be_rendered) in enumerate(drawn) if not can_be_rendered}
    plan = decided(
        {"caps": caps, **COOLDOWN, **TOGETHER},
        *requests,
        context=replace(PERSON, sent=sent_hours_ago(*before)),
        cannot=cannot,
    )
    keys = {request.key for request in requests}
    assert set(outcomes(plan)) == keys
    sent_messages = [decision for parts in plan.together for decision in parts]
    assert not cannot & {decision.request.key for decision in sent_messages}
    assert all(len({part.request.priority for part in parts}) == 1 for parts in plan.together)
    assert all(1 <= len(parts) <= MAX_PARTS for parts in plan.together)
    calm = [parts for parts in plan.together if parts[0].request.priority != "transactional"]
    assert len(calm) <= (0 if any(hours < 20 for hours in before) else 1), "a cooldown allows one message"
    assert len(calm) + sum(hours < 24 for hours in before) <= limit or not calm
