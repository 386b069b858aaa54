"""An account's row is in the lane of each member whose run reads it: once, in order, with the fields as of its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from journeys.protocol.step_outcome import Behind
from store.database import Database, sql
from store.events import plays
from store.outbox.derived import DerivedSignal, enqueue_derived
from store.people import subjects
from store.reads.people import find_subject
from tests.support.members import OF_ACCOUNTS, OTHER, READER, Lanes

_SUBJECT = sql("SELECT * FROM subjects WHERE key = :key")
_ORDER = sql(
    """
    SELECT o.recipient, a.recipient AS account FROM outbox o JOIN outbox a ON a.id = o.copy_of
    JOIN subjects s ON s.key = o.recipient WHERE o.name = 'contract_ended' ORDER BY a.id, s.member_number
    """
)


@pytest.fixture
def lanes(database: Database) -> Lanes:
    return Lanes(database)


async def entered(lanes: Lanes, *users: str, plan: str = "trial") -> None:
    """Members of `acme` with an open run each that reads its fields and reacts to its signals."""
    await lanes.publish(READER)
    for user in users:
        await lanes.joins(user, plan=plan)
        await lanes.track(user, "signed_up")


# -- who gets a copy ---------------------------------------------------------------------------------------------------


async def test_a_copy_goes_to_each_member_with_an_open_run_that_reads_it(lanes: Lanes) -> None:
    await lanes.publish(OTHER)
    await entered(lanes, "ada")
    await lanes.joins("ben")
    await lanes.track("ben", "looked_around")
    await lanes.joins("cleo")
    await lanes.account(plan="paid")
    await lanes.account(color="red")
    await lanes.fan_out()
    assert [(row.kind, row.account) for row in await lanes.copies("ada")] == [("facts", {"plan": "paid"})]
    assert [await lanes.copies(name) for name in ("ben", "cleo")] == [[], []]
    last = (await lanes.subject("acme"))["members_seq"]
    assert [(await lanes.subject(name))["copied_seq"] for name in ("ada", "ben", "cleo")] == [last, last, None]


async def test_a_signal_of_the_account_is_copied_as_one_and_a_members_own_is_not(lanes: Lanes) -> None:
    await lanes.publish(OF_ACCOUNTS)
    await entered(lanes, "ada", "ben")
    await lanes.happens("contract_started")
    await lanes.track("ben", "limit_reached")
    await lanes.happens("contract_ended")
    await lanes.fan_out()
    assert [(row.kind, row.name) for row in await lanes.copies("ada")] == [("signal", "contract_ended")]
    assert "limit_reached" in [row.name for row in await lanes.lane("acme")], "the account's run hears its people"


async def test_an_account_that_no_journey_of_users_reads_has_nothing_for_its_members(lanes: Lanes) -> None:
    await lanes.publish(OF_ACCOUNTS, OTHER)
    await lanes.joins("ada")
    await lanes.track("ada", "looked_around")
    await lanes.happens("contract_started")
    await lanes.account(plan="paid")
    subject = await lanes.subject("acme")
    assert (subject["members_seq"], subject["behind_since"]) == (0, None)


async def test_what_happened_before_somebody_entered_is_not_copied_for_them(lanes: Lanes) -> None:
    await lanes.publish(READER)
    await lanes.joins("ada", plan="trial")
    await lanes.happens("contract_ended")
    await lanes.account(plan="paid")
    await lanes.track("ada", "signed_up")
    await lanes.fan_out()
    assert [(row.name, row.account) for row in await lanes.lane("ada")] == [("signed_up", {"plan": "paid"})]
    assert (await lanes.decided("ada")).state == "here"


# -- the order ---------------------------------------------------------------------------------------------------------


async def test_an_event_of_a_member_is_preceded_by_what_their_account_had_before_it(lanes: Lanes) -> None:
    await entered(lanes, "ada")
    await lanes.account(plan="paid")
    await lanes.track("ada", "limit_reached")
    await lanes.account(plan="free")
    await lanes.fan_out()
    rows = (await lanes.lane("ada"))[1:]
    assert [(row.name, row.account) for row in rows] == [
        ("", {"plan": "paid"}),
        ("limit_reached", {"plan": "paid"}),
        ("", {"plan": "free"}),
    ]


async def test_so_it_is_within_one_batch(lanes: Lanes) -> None:
    await entered(lanes, "ada", "ben")
    await lanes.accept(
        lanes.call("group", account="acme", plan="paid"),
        lanes.call("track", "limit_reached", user="ada"),
        lanes.call("track", "contract_ended", account="acme"),
        lanes.call("track", "limit_reached", user="ben"),
    )
    await lanes.fan_out()
    assert [row.name for row in (await lanes.lane("ada"))[1:]] == ["", "limit_reached", "contract_ended"]
    assert [row.name for row in (await lanes.lane("ben"))[-3:]] == ["", "contract_ended", "limit_reached"]


async def test_a_member_who_changes_their_accounts_fields_has_them_in_what_that_call_causes(lanes: Lanes) -> None:
    """The member's own row comes first, then the account's, then its copies."""
    await lanes.publish(OTHER.replace("limit_reached", "group"))
    await entered(lanes, "ada")
    await lanes.track("ada", "looked_around")
    await lanes.joins("ada", plan="paid", seats=3)
    await lanes.fan_out()
    own, copied = (await lanes.lane("ada"))[-2:]
    assert [(row.name, row.account) for row in (own, copied)] == [("group", {"plan": "paid"}), ("", {"plan": "paid"})]
    assert (own.copy_of, copied.copy_of is not None) == (None, True)


async def test_a_copy_has_the_members_fields_as_they_were_when_the_account_changed(lanes: Lanes) -> None:
    """A member's own event comes after it, so it cannot have changed them."""
    await entered(lanes, "ada")
    await lanes.identify("ada", role="viewer")
    await lanes.happens("contract_ended")
    await lanes.identify("ada", role="admin")
    copied, own = (await lanes.lane("ada"))[-2:]
    assert (copied.name, copied.profile, own.profile) == ("contract_ended", {"role": "viewer"}, {"role": "admin"})


async def test_a_derived_signal_comes_after_what_was_accepted_before_it_and_brings_the_fields_of_its_run(
    lanes: Lanes,
) -> None:
    await entered(lanes, "ada")
    await lanes.identify("ada", role="admin")
    await lanes.account(plan="paid")
    run = await lanes.run("ada")
    async with lanes.database.transaction() as connection:
        chart = await lanes.catalogue.chart(connection, run["definition"])
        signal = DerivedSignal(
            run["lane"], run["id"], "signal", "limit_reached", "derived", datetime.now(UTC), {}, chart.fields
        )
        await enqueue_derived(connection, signal)
    copied, derived = (await lanes.lane("ada"))[-2:]
    assert (copied.copy_of is not None, copied.account) == (True, {"plan": "paid"})
    assert (derived.name, derived.profile, derived.account) == ("limit_reached", {"role": "admin"}, {"plan": "paid"})


AGAIN = """
journey: again
entry: {on: opened, again: always}
exit: [{on: contract_ended}]
topic: onboarding
start: here
states: {here: {}}
"""


async def test_entry_is_decided_after_what_the_account_has_done_to_the_run_before(lanes: Lanes) -> None:
    """A run that the account's signal has ended keeps nobody out, though that signal is not copied yet."""
    await lanes.publish(AGAIN)
    await lanes.joins("ada")
    await lanes.track("ada", "opened")
    await lanes.happens("contract_ended")
    async with lanes.database.reading() as connection:
        ada = await find_subject(connection, "user", "ada")
    assert ada is not None
    run = await plays.start_play(lanes.database, lanes.catalogue, ada, "again", by="us", why="to see", data={})
    assert run.endswith("/2")
    await lanes.happens("contract_ended")
    await lanes.track("ada", "opened")
    names = ["opened", "contract_ended", "play:again", "contract_ended", "opened"]
    assert [row.name for row in await lanes.lane("ada")] == names
    assert len(await lanes.rows(sql("SELECT 1 FROM runs"))) == 3


async def test_copies_are_made_in_the_order_in_which_members_joined_and_know_the_accounts_row(lanes: Lanes) -> None:
    people = ["zoe", "ada", "mia", "ben"]
    await entered(lanes, *people)
    await lanes.joins("ada", "west")
    await lanes.joins("ada", "acme")
    await lanes.accept(
        lanes.call("track", "contract_ended", account="acme"), lanes.call("track", "limit_reached", user="mia")
    )
    await lanes.fan_out()
    keys = {await lanes.key(name): name for name in people}
    rows = await lanes.rows(_ORDER)
    assert [keys[row["recipient"]] for row in rows] == ["zoe", "mia", "ben", "ada"]
    assert {row["account"] for row in rows} == {await lanes.key("acme")}


# -- the instant -------------------------------------------------------------------------------------------------------


async def test_a_copy_is_never_before_what_the_members_timers_have_decided(lanes: Lanes) -> None:
    await entered(lanes, "ada", "ben")
    before, decided = (datetime.now(UTC) - timedelta(minutes=minutes) for minutes in (10, 5))
    async with lanes.database.transaction() as connection:
        await subjects.decided_until(connection, [await lanes.key("ada")], decided)
    await lanes.accept(lanes.call("track", "contract_ended", account="acme", at=before))
    await lanes.fan_out()
    assert [(await lanes.copies(name))[-1].at for name in ("ada", "ben")] == [decided, before]


async def test_a_timer_decides_what_its_account_had_before_it_and_nothing_comes_before_it_later(lanes: Lanes) -> None:
    await entered(lanes, "ada")
    state = await lanes.decided("ada")
    ended = datetime.now(UTC) - timedelta(minutes=10)
    await lanes.accept(lanes.call("track", "contract_ended", account="acme", at=ended))
    heard = await lanes.heard("ada", state.seqs)
    assert heard == [], "nothing is copied yet"
    step = await lanes.timer_step("ada", state, datetime.now(UTC))
    outcome = await lanes.apply(step)
    assert isinstance(outcome, Behind)
    (envelope,) = outcome.occurrences
    assert (envelope.kind, envelope.name, envelope.at) == ("signal", "contract_ended", ended.isoformat())


# -- who comes, goes and turns out to be somebody else -------------------------------------------------------------------


async def test_who_leaves_gets_what_is_pending_first(lanes: Lanes) -> None:
    await entered(lanes, "ada")
    await lanes.account(plan="paid")
    await lanes.leaves("ada")
    await lanes.account(plan="free")
    await lanes.fan_out()
    assert [row.account for row in (await lanes.lane("ada"))[1:]] == [{"plan": "paid"}, {}]
    assert (await lanes.subject("ada"))["copied_seq"] is None


async def test_who_moves_gets_what_is_pending_of_the_old_account_and_begins_with_the_new_one(lanes: Lanes) -> None:
    await entered(lanes, "ada")
    await lanes.account("west", plan="team")
    await lanes.account(plan="paid")
    await lanes.joins("ada", "west", seats=4)
    await lanes.account("west", plan="free")
    await lanes.account(plan="gone")
    for account in ("acme", "west"):
        await lanes.fan_out(account)
    accounts = [row.account for row in (await lanes.lane("ada"))[1:]]
    assert accounts == [{"plan": "paid"}, {"plan": "team"}, {"plan": "free"}]


async def test_who_is_in_two_accounts_reads_the_one_they_were_put_into_last(lanes: Lanes) -> None:
    await lanes.joins("ada", "west", plan="team")
    await entered(lanes, "ada")
    await lanes.accept(lanes.call("track", "limit_reached", user="ada", account="west"))
    assert [row.account for row in await lanes.lane("ada")] == [{"plan": "trial"}, {"plan": "trial"}]


async def test_who_is_in_no_account_enters_with_the_fields_of_the_one_that_the_event_names(lanes: Lanes) -> None:
    await lanes.publish(READER)
    await lanes.account(plan="trial")
    await lanes.accept(lanes.call("track", "signed_up", user="ada", account="acme"))
    await lanes.track("ada", "limit_reached")
    assert [row.account for row in await lanes.lane("ada")] == [{"plan": "trial"}, None]


@pytest.mark.parametrize(
    ("known_in", "plans"),
    [
        ("acme", ["trial", "paid", "free"]),
        ("west", ["trial", "paid", "paid", "free"]),
        (None, ["trial", "paid", "paid", "free"]),
    ],
)
async def test_U2_a_visitor_and_the_user_they_turn_out_to_be_get_what_is_pending_first(
    lanes: Lanes, known_in: str | None, plans: list[str]
) -> None:
    await lanes.publish(READER)
    if known_in is not None:
        await lanes.joins("ada", known_in, plan="team")
    else:
        await lanes.identify("ada", role="admin")
    await lanes.accept(
        lanes.call("group", anonymous="phone", account="acme", plan="trial"),
        lanes.call("track", "signed_up", anonymous="phone"),
    )
    visitor = await lanes.key("phone")
    await lanes.account(plan="paid")
    await lanes.accept(lanes.call("identify", user="ada", anonymous="phone"))
    await lanes.account(plan="free")
    await lanes.account("west", plan="new")
    for account in ("acme", "west"):
        await lanes.fan_out(account)
    heard = await lanes.heard("ada")
    assert [envelope.facts["account"]["plan"] for envelope in heard if envelope.facts] == plans
    gone = (await lanes.rows(_SUBJECT, key=visitor))[0]
    assert (gone["copied_seq"], gone["merged_into"]) == (None, await lanes.key("ada"))
    assert (await lanes.subject("ada"))["copied_seq"] == (await lanes.subject("acme"))["members_seq"]
