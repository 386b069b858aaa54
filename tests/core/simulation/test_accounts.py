"""Accounts in memory: recipients of account journeys, rows in members' lanes, memberships, merges."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from journeys.simulation import backtest
from journeys.simulation.backtest import streams_of
from journeys.simulation.recording import read_recorded
from journeys.simulation.timeline import MessageOutcome
from tests.core.simulation.worlds import (
    consent,
    group,
    happen,
    identify,
    messages,
    of_account,
    operator,
    signal,
    states,
    world,
)

ACCOUNTS = (
    "journey: r\nsubject: account\nentry: {on: contract_started}\ntopic: renewal\nstart: a\n"
    "states: {a: {do: {send: news, for: [champion, admin], via: [email]}, on: {go: b, news.sent: {do: {audience: told}}}},"
    " b: {do: {send: more, for: [champion], via: [email]}}}"
)
PEOPLE = (
    "journey: j\nentry: {on: begin}\ntopic: t\nstart: a\n"
    "states: {a: {do: {send: hello, via: [email]}, on: {ping: {do: {send: pong, via: [in_app]}},"
    " paid: {to: b, when: 'account.plan == \"team\"'}}}, b: {}}"
)
MEMBERS = (
    identify(0, "ada", role="champion"),
    identify(0, "bob", role="admin"),
    identify(0, "cy", role="reader"),
    group(0, "ada", "acme"),
    group(0, "bob", "acme"),
    group(0, "cy", "acme"),
)


def test_an_accounts_message_goes_to_each_member_with_a_role_at_the_moment_of_sending():
    simulated = happen(world(ACCOUNTS), *MEMBERS, signal(1, "cy", "contract_started"), signal(2, "ada", "go"))
    assert messages(simulated) == [
        (1, "ada", "sent", "news"),
        (1, "bob", "sent", "news"),
        (2, "ada", "sent", "more"),
    ]
    changed = happen(
        world(ACCOUNTS), *MEMBERS, signal(1, "cy", "contract_started"),
        identify(1.5, "cy", role="champion"), signal(1.6, "ada", "account_left", account="acme"), signal(2, "bob", "go"),
    )  # fmt: skip
    assert messages(changed)[-1] == (2, "cy", "sent", "more")


def test_an_accounts_message_without_a_member_of_the_role_is_withheld():
    simulated = happen(world(ACCOUNTS), group(0, "ada", "acme"), signal(1, "ada", "contract_started"))
    assert messages(simulated) == [(1, "", "withheld", "news")]
    (outcome,) = [item for _, item in simulated.timeline if isinstance(item, MessageOutcome)]
    assert outcome.reasons[0].text == "no member of the account is champion or admin"


def test_C2_caps_of_a_person_count_messages_of_their_own_and_their_accounts_journeys():
    rules = {"caps": [{"name": "one", "channel": "email", "limit": 1, "window": "P3D"}]}
    simulated = happen(
        world(ACCOUNTS, PEOPLE, rules=rules), *MEMBERS,
        signal(1, "ada", "begin"), signal(2, "cy", "contract_started"), until=9,
    )  # fmt: skip
    assert messages(simulated) == [
        (1, "ada", "sent", "hello"),
        (2, "ada", "deferred", "news"),
        (2, "bob", "sent", "news"),
        (4, "ada", "sent", "news"),
    ]


def test_a_deferred_message_of_an_account_is_withheld_when_its_person_has_left_or_changed_roles():
    rules = {"cooldowns": [{"name": "calm", "channel": "email", "between": "P2D"}]}
    simulated = happen(
        world(ACCOUNTS, PEOPLE, rules=rules), *MEMBERS,
        signal(1, "ada", "begin"), signal(1, "bob", "begin"), signal(1.5, "cy", "contract_started"),
        signal(2, "ada", "account_left", account="acme"), identify(2, "bob", role="reader"), until=9,
    )  # fmt: skip
    assert messages(simulated)[-2:] == [(3, "ada", "withheld", "news"), (3, "bob", "withheld", "news")]


def test_a_person_of_several_accounts_gets_a_template_once():
    simulated = happen(
        world(ACCOUNTS), *MEMBERS, group(0.5, "ada", "beta"),
        signal(1, "cy", "contract_started"), of_account(1.5, "beta", "contract_started"),
    )  # fmt: skip
    assert messages(simulated) == [
        (1, "ada", "sent", "news"),
        (1, "bob", "sent", "news"),
        (1.5, "ada", "withheld", "news"),
    ]


def test_an_accounts_own_signal_reaches_the_runs_of_its_members_and_a_members_does_not():
    begun = (*MEMBERS, signal(1, "ada", "begin"), signal(1, "bob", "begin"))
    own = happen(world(PEOPLE), *begun, of_account(2, "acme", "ping"))
    assert messages(own)[2:] == [(2, "ada", "sent", "pong"), (2, "bob", "sent", "pong")]
    members = happen(world(PEOPLE), *begun, signal(2, "bob", "ping"))
    assert messages(members)[2:] == [(2, "bob", "sent", "pong")]
    left = happen(
        world(PEOPLE), *begun, signal(1.5, "ada", "account_left", account="acme"), of_account(2, "acme", "ping")
    )
    assert messages(left)[2:] == [(2, "bob", "sent", "pong")]


def test_a_users_signal_is_decided_with_the_accounts_fields_as_they_are():
    simulated = happen(
        world(PEOPLE), *MEMBERS, signal(1, "ada", "begin"), signal(1, "bob", "begin"),
        signal(2, "bob", "paid"), group(3, "cy", "acme", plan="team"), signal(4, "ada", "paid"),
    )  # fmt: skip
    assert states(simulated) == {"j/ada/-/1": "b", "j/bob/-/1": "a"}


def test_an_accounts_signal_is_decided_with_the_members_fields_as_they_are():
    text = PEOPLE.replace(
        "paid: {to: b, when: 'account.plan == \"team\"'}", "paid: {to: b, when: 'profile.plan == \"pro\"'}"
    )
    simulated = happen(
        world(text), *MEMBERS, signal(1, "ada", "begin"), signal(1, "bob", "begin"),
        identify(2, "bob", plan="pro"), of_account(3, "acme", "paid"),
    )  # fmt: skip
    assert states(simulated) == {"j/ada/-/1": "a", "j/bob/-/1": "b"}


def test_an_accounts_date_moves_the_anchors_of_its_members_at_once():
    text = "journey: j\nentry: {on: begin}\ntopic: t\nat: [{date: account.renewal_date, before: P5D, to: b}]\nstart: a\nstates: {a: {}, b: {}}"
    begun = (*MEMBERS, group(0, "cy", "acme", renewal_date="2024-01-21"), signal(1, "ada", "begin"))
    moved = happen(world(text), *begun, group(2, "bob", "acme", renewal_date="2024-01-11"), until=4)
    assert [run.due for run in moved.open_runs] == [moved.open_runs[0].state.timers["j:at.0"]]
    assert states(happen(world(text), *begun, until=16)) == {"j/ada/-/1": "b"}
    assert states(happen(moved, until=5.5)) == {"j/ada/-/1": "b"}


def test_who_leaves_an_account_knows_nothing_of_it_any_more():
    simulated = happen(
        world(PEOPLE), group(0, "ada", "acme", plan="team"), signal(1, "ada", "begin"),
        signal(2, "ada", "account_left", account="acme"), signal(3, "ada", "paid"),
    )  # fmt: skip
    assert states(simulated) == {"j/ada/-/1": "a"}
    lines = [line.text for line in simulated.lines() if line.kind == "guard"]
    assert lines == ['on paid: nothing, as account.plan == "team": account.plan is not known']


def test_runs_that_one_event_opens_are_decided_in_the_order_of_their_journeys_person_before_account():
    first = "journey: z\nentry: {on: begin}\ntopic: t\nstart: a\nstates: {a: {}}"
    second = "journey: b\nentry: {on: begin}\ntopic: t\nstart: a\nstates: {a: {}}"
    third = "journey: m\nsubject: account\nentry: {on: begin}\ntopic: t\nstart: a\nstates: {a: {}}"
    simulated = happen(world(first, second, third), group(0, "ada", "acme"), signal(1, "ada", "begin"))
    assert list(dict.fromkeys(line.run for line in simulated.lines())) == ["b/-/1", "z/-/1", "m/-/1"]


def test_a_hold_on_an_account_defers_messages_to_its_members():
    simulated = happen(
        world(PEOPLE), *MEMBERS, operator(0.5, "acme", "hold", until="2024-01-09", by="dana"), signal(1, "ada", "begin"),
    )  # fmt: skip
    assert messages(simulated) == [(1, "ada", "sent", "hello")]  # a person of that name holds nobody of the account
    hold = read_recorded(
        {"type": "operator", "do": "hold", "groupId": "acme", "until": "2024-01-09", "timestamp": "2024-01-01"}
    )
    release = read_recorded({"type": "operator", "do": "release_hold", "groupId": "acme", "timestamp": "2024-01-05"})
    held = happen(world(PEOPLE), *MEMBERS, hold, signal(1, "ada", "begin"), release)
    assert messages(held) == [(1, "ada", "deferred", "hello"), (4, "ada", "sent", "hello")]


def test_C6_an_urgent_ticket_of_one_member_defers_messages_to_all_members():
    ticket = signal(0.5, "bob", "ticket_opened", ticket_id="7", priority="urgent")
    simulated = happen(
        world(PEOPLE),
        *MEMBERS,
        ticket,
        signal(1, "ada", "begin"),
        signal(2, "cy", "ticket_resolved", ticket_id="7"),
        until=3,
    )
    assert messages(simulated) == [(1, "ada", "deferred", "hello"), (2, "ada", "sent", "hello")]


def test_C7_messages_that_wait_for_hours_are_decided_again_when_the_time_zone_changes():
    rules = {"timezone": "UTC", "quiet_hours": [{"name": "night", "start": "20:00", "end": "08:00"}]}
    simulated = happen(
        world(PEOPLE, rules=rules), group(0, "ada", "acme"), signal(0.1, "ada", "begin"),
        group(0.2, "ada", "acme", timezone="Asia/Tokyo"),
    )  # fmt: skip
    assert messages(simulated) == [(0.1, "ada", "deferred", "hello"), (0.2, "ada", "sent", "hello")]


# -- visitors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("both", [False, True], ids=["a new user", "a user who is in the journey"])
def test_U2_a_visitor_who_signs_in_goes_on_as_the_user_and_the_users_own_run_stays(both: bool):
    call = {"anonymousId": "v1", "event": "begin", "timestamp": "2024-01-02"}
    events = [read_recorded(call)]
    if both:
        events.append(signal(2, "ada", "begin"))
    simulated = happen(world(PEOPLE), *events, identify(3, "ada", visitor="v1", plan="pro"), signal(4, "ada", "ping"))
    people = [subject.name for subject in simulated.subjects]
    assert people == ["ada"]
    pongs = [line for line in messages(simulated) if line[3] == "pong"]
    assert pongs == [(4, "ada", "sent", "pong")]
    finished = [line.about for line in simulated.lines() if line.kind == "finished"]
    assert finished == (["merged"] if both else [])


def test_U2_two_known_users_on_one_device_are_never_merged():
    simulated = happen(
        world(PEOPLE), identify(0, "ada", visitor="v1"), identify(1, "bob", visitor="v1"), signal(2, "bob", "begin")
    )
    assert [subject.name for subject in simulated.subjects] == ["ada", "bob"]
    assert states(simulated) == {"j/bob/-/1": "a"}


def test_U2_messages_and_refusals_of_a_visitor_count_for_the_user():
    rules = {"cooldowns": [{"name": "calm", "channel": "email", "between": "P5D"}]}
    begin = read_recorded({"anonymousId": "v1", "event": "begin", "timestamp": "2024-01-02"})
    other = PEOPLE.replace("journey: j", "journey: k").replace("begin", "start")
    simulated = happen(
        world(PEOPLE, other, rules=rules), begin, identify(2, "ada", visitor="v1"), signal(3, "ada", "start"), until=9
    )
    assert messages(simulated) == [
        (1, "v1", "sent", "hello"),
        (3, "ada", "deferred", "hello"),
        (6, "ada", "sent", "hello"),
    ]
    refused = read_recorded(
        {"type": "consent", "anonymousId": "v1", "channel": "email", "granted": False, "timestamp": "2024-01-02"}
    )
    simulated = happen(world(PEOPLE), refused, identify(2, "ada", visitor="v1"), signal(3, "ada", "begin"))
    assert messages(simulated) == [(3, "ada", "withheld", "hello")]


# -- recordings --------------------------------------------------------------------------------------------------------


def test_recorded_calls_name_users_accounts_and_visitors():
    at = {"timestamp": "2024-01-01"}
    joined = read_recorded({"type": "group", "userId": "ada", "groupId": "acme", "traits": {"plan": "pro"}, **at})
    assert (joined.who, joined.kind, joined.account, joined.subject) == ("ada", "account", "acme", "user")
    named = read_recorded({"userId": "ada", "event": "x", "context": {"groupId": "beta"}, **at})
    assert (named.who, named.account) == ("ada", "beta")
    own = read_recorded({"groupId": "acme", "event": "x", **at})
    assert (own.who, own.account, own.subject) == ("acme", "acme", "account")
    both = read_recorded({"userId": "ada", "anonymousId": "v1", "event": "x", **at})
    assert (both.who, both.visitor, both.subject) == ("ada", "v1", "user")
    alias = read_recorded({"type": "alias", "userId": "ada", "previousId": "v2", **at})
    assert (alias.who, alias.visitor, alias.name) == ("ada", "v2", "alias")
    alone = read_recorded({"anonymousId": "v1", "event": "x", **at})
    assert (alone.who, alone.visitor, alone.subject) == ("v1", "", "visitor")


def test_the_time_to_group_events_grows_with_their_number_alone():
    members = 50_000
    events = [group(0, f"member-{number}", "acme") for number in range(members)]
    calls = 0

    def count(frame: FrameType, event: str, argument: object) -> Callable[..., Any] | None:
        nonlocal calls
        calls += event == "line"
        assert calls < 100 * members
        return count if frame.f_code.co_filename == backtest.__file__ else None

    before = sys.gettrace()
    sys.settrace(count)
    try:
        (stream,) = streams_of(events)
    finally:
        sys.settrace(before)
    assert len(stream[1]) == members


def test_events_are_grouped_by_what_accounts_and_names_connect():
    events = [
        signal(3, "ada", "x"),
        signal(1, "dan", "x"),
        group(2, "ada", "acme"),
        group(0, "bob", "acme"),
        identify(4, "cy", visitor="v1"),
        signal(5, "bob", "x", account="beta"),
        group(6, "eve", "beta"),
        consent(1, "dan", granted=True),
    ]
    groups = {name: [(event.who, event.at.day) for event in of_group] for name, of_group in streams_of(events)}
    assert groups == {
        "ada": [("bob", 1), ("ada", 3), ("ada", 4), ("bob", 6), ("eve", 7)],
        "dan": [("dan", 2), ("dan", 2)],
        "cy": [("cy", 5)],
    }
