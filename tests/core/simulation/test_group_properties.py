"""Properties of groups in memory against simple models: copies for members, their order, caps, independence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from journeys.gate.policy import load_policy
from journeys.gate.status import Status
from journeys.simulation.backtest import streams_of
from journeys.simulation.recording import RecordedEvent
from journeys.simulation.simulator import ComparableLine, comparable_lines, play_group
from journeys.simulation.timeline import MessageOutcome, Scenario
from tests.core.simulation.worlds import BOTH, TYPES, group, identify, of_account, signal
from tests.support.reached import must_reach, reached
from tests.support.run_script import chart, day

OF_PEOPLE = chart(
    "journey: j\nentry: {on: begin}\ntopic: t\nstart: a\nstates: {a: {on: {ping: {do: {send: pong, via: [email]}},"
    " mine: {do: {send: own, via: [in_app]}}, pay: {to: b, when: 'account.plan == \"pro\"'}},"
    " after: {P3D: {do: {send: late, via: [email]}}}}, b: {after: {P1D: a}}}",
    TYPES,
)
OF_ACCOUNTS = chart(
    "journey: r\nsubject: account\nentry: {on: start}\ntopic: t\nstart: a\nstates: {a: {on: {ping: {do: {send: report, for: [champion],"
    " via: [email]}}, mine: {do: {emit: ping}}}}}",
    TYPES,
)
PEOPLE, ACCOUNTS = ("ada", "bob", "cy"), ("acme", "beta")
people, accounts = st.sampled_from(PEOPLE), st.sampled_from(ACCOUNTS)
something = st.one_of(
    st.builds(lambda who, account: ("join", who, account), people, accounts),
    st.builds(lambda who, account: ("join", who, account), people, accounts),
    st.builds(lambda who, account: ("leave", who, account), people, accounts),
    st.builds(lambda who: ("begin", who, ""), people),
    st.builds(lambda who: ("mine", who, ""), people),
    st.builds(lambda who: ("pay", who, ""), people),
    st.builds(lambda who: ("lead", who, ""), people),
    st.builds(lambda account: ("ping", "", account), accounts),
    st.builds(lambda account: ("start", "", account), accounts),
    st.builds(lambda who, account: ("plan", who, account), people, accounts),
)
anything = st.lists(st.tuples(something, st.sampled_from([0.001, 0.25, 1, 2])), min_size=2, max_size=20)
Story = Sequence[tuple[tuple[str, str, str], float]]
BEGINNING = (
    *(("join", who, "acme") for who in PEOPLE), *(("begin", who, "") for who in PEOPLE),
    ("start", "", "acme"), ("start", "", "beta"), ("lead", "ada", ""), ("lead", "bob", ""),
)  # fmt: skip


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Some of a usual beginning in any order, then anything; no two events at one instant."""
    begun = draw(st.lists(st.sampled_from(BEGINNING), unique=True, min_size=6))
    return [*((what, 0.001) for what in begun), *draw(anything)]


def recorded(story: Story, suffix: str = "") -> list[RecordedEvent]:
    """The events of a story; `suffix` makes its people and accounts others."""
    at, events = 0.0, list[RecordedEvent]()
    for (what, person, account), pause in story:
        at += pause
        who, of = person + suffix, account + suffix if account else ""
        match what:
            case "join":
                events.append(group(at, who, of))
            case "plan":
                events.append(group(at, who, of, plan="pro" if len(events) % 2 else "free"))
            case "lead":
                events.append(identify(at, who, role="champion"))
            case "leave":
                events.append(signal(at, who, "account_left", account=of))
            case "ping" | "start":
                events.append(of_account(at, of, what))
            case _:
                events.append(signal(at, who, what))
    return events


def scenario(**rules: object) -> Scenario:
    return Scenario((OF_PEOPLE, OF_ACCOUNTS), load_policy(rules or None), BOTH)


# -- copies ------------------------------------------------------------------------------------------------------------


def expected_pings(story: Story) -> list[tuple[datetime, tuple[str, ...]]]:
    """A model of who decides each `ping` of an account: its own run, then those whose account it is, as they were put into it.

    `mine` of a member makes their account's run emit one.
    """
    theirs, put = dict[str, str](), defaultdict[str, list[str]](list)
    begun, started = set[str](), set[str]()
    at, pings = 0.0, []
    for (what, person, account), pause in story:
        at += pause
        before = theirs.get(person)
        if what in {"join", "plan"} and before != account:
            put[before or ""] = [who for who in put[before or ""] if who != person]
            put[account].append(person)
            theirs[person] = account
        elif what == "leave" and before == account:
            put[account].remove(person)
            del theirs[person]
        elif what in {"begin", "start"}:
            (begun if what == "begin" else started).add(person or account)
        elif what == "ping" or (what == "mine" and before in started):
            of = account or theirs[person]
            members = tuple(who for who in put[of] if who in begun)
            pings.append((day(at), (of, *members) if of in started else members))
    return pings


@must_reach(by_account_and_members=5, by_several_members=5, emitted=3)
@settings(max_examples=150)
@given(stories())
def test_an_accounts_signal_is_decided_once_by_its_own_run_and_then_by_each_member_as_they_joined(story: Story):
    story = [item for item in story if item[0][0] != "pay"]
    world = play_group(scenario(), recorded(story), day(60))
    lines = [line for line in world.lines() if line.kind == "fired" and line.text.startswith("on ping")]
    expected = expected_pings(story)
    assert [(line.at, line.subject) for line in lines] == [(at, who) for at, deciding in expected for who in deciding]
    for _, deciding in expected:
        reached("by_account_and_members", bool(set(deciding) & set(ACCOUNTS)) and len(deciding) > 1)
        reached("by_several_members", len(set(deciding) & set(PEOPLE)) > 1)
    reached("emitted", sum("emit" in line.text for line in world.lines()))


# -- caps --------------------------------------------------------------------------------------------------------------


@must_reach(both_kinds=2, deferred=10)
@settings(max_examples=150)
@given(stories())
def test_C2_a_cap_holds_for_each_person_over_messages_of_their_own_and_their_accounts_journeys(story: Story):
    rules = {"caps": [{"name": "two", "channel": "email", "limit": 2, "window": "P2D"}]}
    world = play_group(scenario(**rules), recorded(story), day(60))
    sent = defaultdict[str, list[MessageOutcome]](list)
    for _, item in world.timeline:
        if isinstance(item, MessageOutcome):
            reached("deferred", item.kind is Status.DEFERRED)
            if item.kind is Status.SENT and item.channel == "email":
                sent[item.to].append(item)
    window = day(2) - day(0)
    for of_person in sent.values():
        for third, first in zip(of_person[2:], of_person, strict=False):
            assert third.at - first.at >= window
        reached("both_kinds", len({item.message.template == "report" for item in of_person}) > 1)


# -- independence ------------------------------------------------------------------------------------------------------


def by_name(lines: Sequence[ComparableLine], suffix: str) -> list[ComparableLine]:
    names = tuple(name + suffix for name in (*PEOPLE, *ACCOUNTS))
    return [line for line in lines if line.name.split("/")[1] in names]


@must_reach(decided=50)
@settings(max_examples=100)
@given(stories(), stories())
def test_the_decisions_of_a_group_do_not_depend_on_the_events_of_another(one: Story, other: Story):
    rules = {"cooldowns": [{"name": "calm", "between": "PT20H"}]}
    mine, theirs = recorded(one), recorded(other, "2")
    mixed = sorted((*mine, *theirs), key=lambda event: event.at)
    together = comparable_lines(play_group(scenario(**rules), mixed, day(60)))
    alone = comparable_lines(play_group(scenario(**rules), mine, day(60)))
    assert by_name(together, "") == alone
    assert by_name(together, "2") == comparable_lines(play_group(scenario(**rules), theirs, day(60)))
    reached("decided", len(alone))


@must_reach(several=5)
@settings(max_examples=60)
@given(stories())
def test_groups_that_share_no_account_are_decided_apart_as_together(story: Story):
    events = recorded(story)
    streams = streams_of(events)
    together = comparable_lines(play_group(scenario(), events, day(60)))
    apart = [line for _, of_group in streams for line in comparable_lines(play_group(scenario(), of_group, day(60)))]
    assert sorted(together, key=str) == sorted(apart, key=str)
    reached("several", len(streams) > 1)


@must_reach(decided=50)
@settings(max_examples=60)
@given(stories(), st.lists(st.sampled_from([0.1, 0.5, 1.5, 3, 7, 20, 40]), max_size=4))
def test_stopping_at_any_instants_changes_nothing(story: Story, stops: list[float]):
    events = recorded(story)
    whole = play_group(scenario(), events, day(60))
    world = play_group(scenario(), [])
    pending = sorted(day(stop) for stop in stops)
    for event in events:
        while pending and pending[0] <= event.at:
            world.until(pending.pop(0))
        world.accept(event)
    world.until(day(60))
    assert comparable_lines(world) == comparable_lines(whole)
    reached("decided", len(whole.timeline))
