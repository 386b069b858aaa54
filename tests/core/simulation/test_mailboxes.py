"""Mailboxes in memory: caps, cooldowns and opt-outs hold for everybody at one address (C2, C5)."""

from __future__ import annotations

import pytest

from journeys.consent.rules import ConsentRules, load_consent_rules
from journeys.simulation.backtest import streams_of
from tests.core.simulation.worlds import consent, happen, identify, messages, operator, signal, world

TEXT = "states: {a: {do: {send: one, via: [email]}, on: {go: {do: {send: two, via: [email]}}}}}"
CAP = {"caps": [{"name": "mails", "channel": "email", "limit": 1, "window": "P7D"}], "expires_after": "P2D"}
COOLDOWN = {"cooldowns": [{"name": "apart", "channel": "email", "between": "P1D"}]}
SHARED = {"shared_mailboxes": ["Office@Example.com"]}
ADDRESS = "office@example.com"
BOUNCES = load_consent_rules(
    {
        "suppress": {
            "message_bounced": {"channel": "email", "reason": "bounce"},
            "message_complained": {"channel": "email", "reason": "complaint"},
        },
        "soft_bounces": {"limit": 2, "within": "P5D"},
    }
)


def sent_to(simulated) -> list[tuple[float, str]]:
    return [(at, person) for at, person, verdict, _ in messages(simulated) if verdict == "sent"]


def begin(*, rules=None, other: str = " OFFICE@example.com"):
    simulated = world(TEXT, rules=rules, consent=ConsentRules())
    return happen(
        simulated,
        identify(0, "ada", email=ADDRESS),
        identify(0, "ben", email=other),
        signal(1, "ada", "begin"),
        signal(1.5, "ben", "begin"),
        until=30,
    )


@pytest.mark.parametrize(
    ("rules", "sent"),
    [
        (CAP, [(1, "ada")]),
        (COOLDOWN, [(1, "ada"), (2, "ben")]),
        (CAP | SHARED, [(1, "ada"), (1.5, "ben")]),
        (COOLDOWN | SHARED, [(1, "ada"), (1.5, "ben")]),
    ],
    ids=["cap", "cooldown", "cap at a shared mailbox", "cooldown at a shared mailbox"],
)
def test_C2_messages_to_one_mailbox_count_for_everybody_who_has_it(rules, sent):
    assert sent_to(begin(rules=rules)) == sent


def test_C2_people_with_their_own_mailboxes_are_counted_apart():
    assert sent_to(begin(rules=CAP, other="ben@example.com")) == [(1, "ada"), (1.5, "ben")]


@pytest.mark.parametrize("by", ["person", "operator", "company"])
def test_C5_what_a_person_says_themselves_holds_for_everybody_at_their_mailbox(by):
    simulated = begin()
    happen(simulated, consent(2, "ada", granted=False, channel="email", by=by), signal(3, "ben", "go"), until=4)
    verdict = messages(simulated)[-1][1:3]
    assert verdict == ("ben", "sent" if by == "company" else "withheld")


def test_C5_an_opt_out_at_a_mailbox_is_lifted_by_whoever_has_it_and_stays_the_persons_own():
    simulated = begin()
    happen(
        simulated,
        consent(2, "ada", granted=False, channel="email", by="person"),
        consent(3, "ben", granted=None, channel="email", by="person"),
        signal(4, "ben", "go"),
        signal(4, "ada", "go"),
        until=5,
    )
    assert [line[1:3] for line in messages(simulated)[-1:]] == [("ben", "sent")]
    assert simulated.gate_of(simulated.subjects.user("ada").subject).recipient.consents == {("email", "*"): False}


def test_C5_an_opt_out_at_a_mailbox_shared_on_purpose_is_the_persons_alone():
    simulated = begin(rules=SHARED)
    happen(simulated, consent(2, "ada", granted=False, channel="email", by="person"), signal(3, "ben", "go"), until=4)
    assert messages(simulated)[-1][1:3] == ("ben", "sent")


def test_the_backtest_groups_people_of_one_mailbox():
    events = [
        identify(0, "ada", email=ADDRESS), identify(0, "ben", email="Office@example.com "), identify(0, "cy", email="c@x.io"),
        signal(1, "ben", "begin"), identify(2, "dan", phone="+43 1 234"), identify(3, "eve", phone="00431234"),
    ]  # fmt: skip
    groups = [sorted({event.who for event in stream}) for _, stream in streams_of(events)]
    assert groups == [["ada", "ben"], ["cy"], ["dan", "eve"]]


# -- suppressions ------------------------------------------------------------------------------------------------------


def verdict_on_two(*events, other: str = " OFFICE@example.com", rules=None, consent=BOUNCES, at: float = 8) -> str:
    """What becomes of the message `two` to ben, who has the mailbox `other`, on day `at` after these events."""
    simulated = world(TEXT, rules=rules, consent=consent)
    known = identify(0, "ada", email=ADDRESS), identify(0, "ben", email=other), signal(1, "ben", "begin")
    happen(simulated, *known, *events, signal(at, "ben", "go"), until=at + 1)
    return messages(simulated)[-1][2]


HARD = signal(2, "ada", "message_bounced", kind="hard")
SUPPRESSED = operator(2, "ada", "suppress", channel="email")


@pytest.mark.parametrize(
    "events",
    [
        [HARD],
        [signal(2, "ada", "message_complained")],
        [signal(2, "cy", "message_bounced", kind="hard", address="Office@EXAMPLE.com ")],
        [signal(2, "ada", "message_bounced", kind="soft"), signal(3, "ben", "message_bounced", kind="soft")],
        [SUPPRESSED],
        [HARD, operator(3, "cy", "lift_suppression", channel="email")],
    ],
    ids=[
        "a bounce", "a complaint", "a bounce of an address in another spelling", "soft bounces of two people", "an operator",
        "lifted for somebody with another address",
    ],
)  # fmt: skip
def test_C5_a_suppression_holds_at_the_address_for_everybody_who_has_it_however_they_spell_it(events):
    assert verdict_on_two(*events) == "withheld"
    assert verdict_on_two(*events, rules=SHARED) == "withheld", "a mailbox shared on purpose may bounce as well"
    assert verdict_on_two(*events, other="ben@example.com") == "sent"


@pytest.mark.parametrize("who", ["ada", "ben"])
def test_C5_a_suppression_is_lifted_at_the_address_for_whoever_it_is_asked(who):
    assert verdict_on_two(HARD, operator(3, who, "lift_suppression", channel="email")) == "sent"
    soft = [signal(at, "ada", "message_bounced", kind="soft") for at in (2, 4)]
    lifted = operator(3, who, "lift_suppression", channel="email")
    assert verdict_on_two(soft[0], lifted, soft[1]) == "sent", "the count begins again"


def test_C5_soft_bounces_suppress_an_address_for_a_time_and_a_hard_one_for_good():
    given = BOUNCES.model_dump(mode="json", exclude={"soft_bounces"}, exclude_defaults=True)
    rests = load_consent_rules({**given, "soft_bounces": {"limit": 2, "within": "P5D", "rest": "P3D"}})
    soft = [signal(at, "ada", "message_bounced", kind="soft") for at in (2, 3)]
    assert verdict_on_two(*soft, consent=rests, at=5) == "withheld"
    assert verdict_on_two(*soft, consent=rests, at=7) == "sent"
    assert verdict_on_two(*soft, signal(4, "ada", "message_bounced", kind="hard"), consent=rests, at=7) == "withheld"


def test_C5_a_failure_about_the_sender_suppresses_nobody():
    refused = [signal(at, "ada", "message_bounced", kind="sender") for at in (2, 3, 4)]
    assert verdict_on_two(*refused) == "sent"


def test_C5_a_suppressed_address_stays_suppressed_for_who_gets_it_later():
    later = identify(5, "ben", email="OFFICE@example.com")
    assert verdict_on_two(HARD, later, other="ben@example.com") == "withheld"


def test_C5_an_address_that_is_only_assumed_is_suppressed_for_one_person_and_for_the_user_they_turn_out_to_be():
    assert verdict_on_two(SUPPRESSED, other="") == "sent"
    simulated = world(TEXT, consent=BOUNCES)
    suppressed = operator(1, "v", "suppress", channel="email")._replace(subject="visitor")
    seen = signal(0, "v", "begin")._replace(subject="visitor")
    happen(
        simulated,
        identify(0, "ben"),
        seen,
        suppressed,
        identify(2, "ben", visitor="v"),
        signal(3, "ben", "go"),
        until=4,
    )
    assert messages(simulated)[-1][1:3] == ("ben", "withheld")
