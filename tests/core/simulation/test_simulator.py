"""The simulator: gate, deferred messages, outcomes, tickets, consent, timelines and recorded events."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.app import build_cli
from journeys.decision import draft
from journeys.gate.policy import load_policy
from journeys.simulation.recording import RecordedEvent, UnusableRecord, read_recorded, signal_name
from journeys.simulation.simulator import simulate, timeline_table
from journeys.simulation.timeline import Scenario
from journeys.simulation.world import World
from tests.support.run_script import chart, day

BOTH = frozenset({"email", "in_app"})
COOL = {"cooldowns": [{"name": "calm", "between": "P2D"}]}


def person(*texts: str, rules: dict[str, Any] | None = None, reachable: frozenset[str] = BOTH) -> World:
    return World(Scenario(tuple(chart(text) for text in texts), load_policy(rules), reachable))


def signal(at: float, name: str, **data: Any) -> RecordedEvent:
    return RecordedEvent(day(at), "p", "signal", name, data)


def messages_of(simulated: World) -> list[tuple[str, str, float]]:
    return [
        (line.kind, line.about, (line.at - day(0)).total_seconds() / 86400)
        for line in simulated.lines()
        if line.kind in {"sent", "deferred", "withheld", "withdrawn"}
    ]


def happen(simulated: World, *events: RecordedEvent, until: float = 100) -> World:
    for event in events:
        simulated.accept(event)
    simulated.until(day(until))
    return simulated


TWO = "states: {a: {do: {send: one}, after: {P1D: {do: {send: two}}}, on: {done: b}}, b: {}}"


def test_C2_a_cooldown_defers_a_message_until_its_end() -> None:
    simulated = happen(person(TWO, rules=COOL), signal(0, "begin"))
    assert messages_of(simulated) == [("sent", "send:one", 0), ("deferred", "send:two", 1), ("sent", "send:two", 2)]


MORNING_MAIL = (
    "journey: lead\nentry: {on: begin}\ntopic: t\nstart: a\nstates: {a: {do: {send: one}, on: {done: b}}, b: {}}"
)
OFFER = (
    "journey: offer\nentry: {on: browsed}\ntopic: o\npriority: promotional\nstart: a\nstates: {a: {do: {send: two}}}"
)
ONE_A_WEEK = {
    "caps": [{"name": "a-week", "limit": 1, "window": "P7D"}],
    "send_windows": [{"name": "mornings", "topic": "t", "start": "08:00", "end": "12:00"}],
}


def test_C2_a_message_that_leaves_its_place_to_a_queued_one_is_decided_again_when_that_one_is_withdrawn() -> None:
    asked = (signal(0.625, "begin"), signal(0.75, "browsed"))
    stays = happen(person(MORNING_MAIL, OFFER, rules=ONE_A_WEEK), *asked, until=20)
    assert messages_of(stays) == [
        ("deferred", "send:one", 0.625),
        ("deferred", "send:two", 0.75),
        ("deferred", "send:two", 1 + 1 / 3),
        ("sent", "send:one", 1 + 1 / 3),
        ("sent", "send:two", 8 + 1 / 3),
    ]
    behind = next(line for line in stays.lines() if (line.kind, line.about) == ("deferred", "send:two"))
    assert "send:one is ahead of it under cap a-week, due 2024-01-02 08:00 UTC" in behind.text
    left = happen(person(MORNING_MAIL, OFFER, rules=ONE_A_WEEK), *asked, signal(0.875, "done"), until=20)
    assert messages_of(left)[2:] == [("withdrawn", "send:one", 0.875), ("sent", "send:two", 0.875)]


def test_C2_C5_an_opt_out_from_a_queued_message_lets_the_one_behind_it_go() -> None:
    asked = (signal(0.625, "begin"), signal(0.75, "browsed"))
    no = RecordedEvent(day(0.875), "p", "consent", "consent", {"channel": "*", "topic": "t", "granted": False})
    left = happen(person(MORNING_MAIL, OFFER, rules=ONE_A_WEEK), *asked, no, until=20)
    assert messages_of(left)[2:] == [("withdrawn", "send:one", 0.875), ("sent", "send:two", 0.875)]


def test_C3_H7_a_deferred_message_is_withdrawn_when_its_state_is_left() -> None:
    simulated = happen(person(TWO, rules=COOL), signal(0, "begin"), signal(1.5, "done"))
    assert messages_of(simulated)[-1] == ("withdrawn", "send:two", 1.5)
    assert "a was left for b on done" in simulated.lines()[-1].text


def test_C5_an_opt_out_withdraws_a_message_that_is_already_deferred() -> None:
    opt_out = RecordedEvent(day(1.5), "p", "consent", "consent", {"channel": "email", "topic": "t", "granted": False})
    text = TWO.replace("send: one", "send: one, via: [email, in_app]").replace("send: two", "send: two, via: [email]")
    simulated = happen(person(text, rules=COOL), signal(0, "begin"), opt_out)
    assert messages_of(simulated)[-1] == ("withdrawn", "send:two", 1.5)
    assert "the person opted out of t by email" in simulated.lines()[-1].text


def test_C5_an_opt_out_of_the_last_channel_ends_the_run_at_once() -> None:
    opt_out = RecordedEvent(day(0.5), "p", "consent", "consent", {"channel": "email", "topic": "t", "granted": False})
    simulated = happen(person(TWO), signal(0, "begin"), opt_out)
    assert simulated.lines()[-1].about == "opted_out"
    assert simulated.open_runs == []


def test_C6_J7_an_open_urgent_ticket_defers_messages_until_it_is_resolved() -> None:
    ticket = signal(0.5, "ticket_opened", ticket_id="7", priority="urgent")
    simulated = happen(person(TWO), signal(0, "begin"), ticket, signal(4.3, "ticket_resolved", ticket_id="7"))
    assert messages_of(simulated) == [("sent", "send:one", 0), ("deferred", "send:two", 1), ("sent", "send:two", 4.3)]


def test_outcomes_of_a_message_reach_its_run_as_signals() -> None:
    text = (
        "states: {a: {do: {send: x, name: offer, via: [email]}, on: {offer.sent: b, offer.withheld: c}},"
        " b: {do: {send: y, via: [in_app]}}, c: {}}"
    )
    assert happen(person(text), signal(0, "begin")).open_runs[0].state.state == "b"
    assert happen(person(text, reachable=frozenset({"in_app"})), signal(0, "begin")).open_runs[0].state.state == "c"


def test_an_address_is_used_from_the_instant_it_is_known() -> None:
    text = "states: {a: {on: {go: {do: {send: x, via: [email]}}}}}"
    simulated = person(text, reachable=frozenset())
    happen(
        simulated,
        signal(0, "begin"),
        signal(1, "go"),
        RecordedEvent(day(2), "p", "profile", "", {"email": "a@b.c"}),
        signal(3, "go"),
    )
    assert messages_of(simulated) == [("withheld", "send:x", 1), ("sent", "send:x", 3)]


def test_C2_caps_count_over_all_journeys() -> None:
    other = "journey: k\nentry: {on: begin}\ntopic: u\nstart: a\nstates: {a: {do: {send: other}}}"
    rules = {"caps": [{"name": "one", "limit": 1, "window": "P3D"}]}
    simulated = happen(person(TWO, other, rules=rules), signal(0, "begin"))
    assert messages_of(simulated)[:3] == [
        ("sent", "send:one", 0),
        ("deferred", "send:other", 0),
        ("deferred", "send:two", 1),
    ]
    assert [row[0] for row in messages_of(simulated)].count("sent") == 3


def test_an_emitted_signal_starts_one_run_of_another_journey_for_each_case() -> None:
    first = "states: {a: {on: {order: {do: {emit: item, for_each: event.items, data: {order_id: item}}}}}}"
    second = "journey: k\ncase: order_id\nentry: {on: item}\ntopic: t\nstart: a\nstates: {a: {}}"
    simulated = happen(person(first, second), signal(0, "begin"), signal(1, "order", items=["x", "y", "x"]))
    assert [run.name for run in simulated.open_runs] == ["j/-/1", "k/x/1", "k/y/1"]


def test_journeys_that_emit_signals_to_each_other_without_end_are_stopped() -> None:
    first = "states: {a: {on: {ping: {do: {emit: pong}}}}}"
    second = "journey: k\nentry: {on: begin}\ntopic: t\nstart: a\nstates: {a: {on: {pong: {do: {emit: ping}}}}}"
    simulated = happen(person(first, second), signal(0, "begin"), signal(1, "ping"))
    assert len(simulated.timeline) < 5_000


def test_a_signal_reaches_only_the_run_of_its_case() -> None:
    text = "journey: j\ncase: order_id\nentry: {on: order}\ntopic: t\nstart: a\nstates: {a: {on: {paid: b}}, b: {}}"
    simulated = happen(
        person(text),
        signal(0, "order", order_id="1"),
        signal(0, "order", order_id="2"),
        signal(1, "paid", order_id="2"),
        signal(1, "paid"),
    )
    assert {run.name: run.state.state for run in simulated.open_runs} == {"j/1/1": "a", "j/2/1": "b"}


def test_re_entry_starts_a_new_epoch() -> None:
    text = "journey: j\nentry: {on: begin, again: {after: P5D}}\ngoal: {on: won}\ntopic: t\nstart: a\nstates: {a: {}}"
    simulated = happen(
        person(text), *(signal(at, name) for at, name in ((0, "begin"), (1, "won"), (3, "begin"), (6, "begin")))
    )
    assert [run.name for run in simulated.open_runs] == ["j/-/2"]


def test_new_fields_are_applied_before_the_next_timer_and_anchors_move_at_once() -> None:
    guarded = "states: {a: {after: {P5D: {to: b, when: profile.fit > 0.5}}}, b: {}}"
    fit = RecordedEvent(day(1), "p", "profile", "", {"fit": 0.9})
    assert happen(person(guarded), signal(0, "begin"), fit).open_runs[0].state.state == "b"
    dated = "at: [{date: profile.trial_ends, to: b}]\nstates: {a: {}, b: {}}"
    ends = RecordedEvent(day(1), "p", "profile", "", {"trial_ends": day(9).isoformat()})
    simulated = happen(person(dated), signal(0, "begin"), ends, until=2)
    assert simulated.open_runs[0].due == day(9)


def test_each_line_of_the_timeline_has_its_instant_and_its_reason() -> None:
    scenario = Scenario((chart(TWO),), load_policy(COOL), BOTH)
    events = [signal(0, "begin"), signal(1.5, "done"), signal(2, "begin")]
    lines = timeline_table(simulate(scenario, events, day(9))).splitlines()
    assert lines[0].split() == ["2024-01-01", "00:00", "signal", "begin"]
    for words in (
        "entered on begin",
        "one by email",
        "two waits, because cooldown calm lasts until 2024-01-03 00:00 UTC, until 2024-01-03 00:00",
        "two, because a was left for b on done",
        "on begin: a run is open",
        "in b; no timer is set",
    ):
        assert any(line.endswith(words) for line in lines), words


def test_a_timeline_without_an_end_stops_at_the_last_event() -> None:
    scenario = Scenario((chart(TWO),), load_policy(None), BOTH)
    moments = simulate(scenario, [signal(0, "begin")])
    assert max(moment.at for moment in moments) == day(0)
    assert moments[-1].why == "in a; next timer 2024-01-02 00:00"


# -- recorded events ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["Order Completed", "order_completed", "OrderCompleted", " order-completed "])
def test_without_a_plan_event_names_are_normalised(name: str) -> None:
    assert signal_name(name).replace("-", "_") == "order_completed"


@pytest.mark.parametrize(
    "raw",
    [
        {"event": "x", "timestamp": "2024-01-01"},
        {"userId": "1", "event": "x"},
        {"userId": "1", "event": "x", "timestamp": "soon"},
        {"userId": "1", "timestamp": "2024-01-01"},
    ],
)
def test_a_record_without_user_timestamp_or_event_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(UnusableRecord):
        read_recorded(raw)


# -- the command -------------------------------------------------------------------------------------------------------


def run(*arguments: str) -> Any:
    return CliRunner().invoke(build_cli(arguments[0]), list(arguments))


@pytest.fixture
def events(tmp_path: Path) -> Path:
    calls = [
        {
            "type": "identify",
            "userId": "ada",
            "timestamp": "2024-01-01T00:00:00Z",
            "traits": {"email": "ada@example.com"},
        },
        {"type": "track", "userId": "ada", "event": "Signed Up", "timestamp": "2024-01-01T00:00:00Z"},
        {"type": "track", "userId": "ada", "timestamp": "2024-01-02T00:00:00Z"},
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("\n".join(json.dumps(call) for call in calls), encoding="utf-8")
    return path


def test_Q3_simulate_runs_a_journey_on_a_persons_recorded_events(events: Path) -> None:
    result = run("simulate", "setup-and-activation", "--events", str(events), "--until", "2024-01-05")
    assert result.exit_code == 0, result.output
    assert "entered on signed_up" in result.output
    assert "setup/checklist by email" in result.output
    assert "a track call names its event" in result.output


def test_simulate_reads_events_from_a_csv_file(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("customer,date,total,quantity,order_id\n7,2024-01-01,9.5,1,a\n", encoding="utf-8")
    arguments = ("simulate", "win-back-and-replenishment", "--events", str(path), "--event", "order_completed")
    result = run(*arguments, "--until", "2024-03-02")
    assert result.exit_code == 0, result.output
    assert "2024-03-02 00:00  win-back-and-replenishment/-/1  moved" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "no-such-journey", "--events", "cdnow"),
        ("simulate", "setup-and-activation", "--events", "/no/such/file"),
    ],
)
def test_simulate_names_a_missing_journey_or_file(arguments: tuple[str, ...]) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert "no" in result.output


def test_A4_what_exceeds_one_step_follows_at_the_same_instant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draft, "MOST_EFFECTS", 4)
    text = 'states: {a: {do: [{emit: heard, for_each: "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"}, {send: one}], on: {heard: {do: {set: {n: "1"}}}}}}'
    simulated = happen(person(text), signal(0, "begin"))
    assert messages_of(simulated) == [("sent", "send:one", 0)]
    assert sum(line.kind == "fired" for line in simulated.lines()) == 10
