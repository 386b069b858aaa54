"""Settlement of attempts: every cell of the delivery table, lookups at the provider, and `docs/messages.md`."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import product

import pytest

from activities.delivery.settlement import (
    AFTER_LEASE,
    NEXT,
    AfterLease,
    Earlier,
    InFlight,
    after_lease,
    settle,
    settle_found,
    settle_unanswered,
    settle_unseen,
)
from activities.ports import SLACK, Ambiguity, AttemptResult, Promise, Receipt, Retry
from journeys.gate.status import TRANSITIONS, Status
from tests.support import shipped_catalog

TEXT = (shipped_catalog.DOCS / "messages.md").read_text("utf-8")
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
HOUR = timedelta(hours=1)
RETRY = Retry(first=timedelta(minutes=1), longest=timedelta(minutes=8), within=HOUR)
R, E, S = AttemptResult, Earlier, Status


@dataclass
class Terms:
    promise: Promise = Promise.KEYED
    ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE
    retry: Retry = RETRY


def attempt(
    earlier: Earlier = E.FAILED, *, number: int = 3, since: timedelta = HOUR / 2, digest: bool = False
) -> InFlight:
    """The third attempt of a message that was first tried half an hour ago."""
    first_at = NOW if earlier is E.NOTHING_LEFT else NOW - since
    return InFlight(number, NOW, first_at, earlier, digest)


def expected(result: AttemptResult, left: bool, earlier: Earlier, *, too_late: bool) -> Status:
    """The rule, written independently of the table."""
    in_doubt = earlier is E.IN_DOUBT
    match result:
        case R.SENT:
            return S.SENT
        case R.UNKNOWN:
            return S.SENDING
        case R.REFUSED:
            return S.UNKNOWN if in_doubt else S.FAILED
        case R.TRY_AGAIN:
            time_runs = left or earlier is not E.NOTHING_LEFT
            if not (too_late and time_runs):
                return S.DEFERRED
            return S.UNKNOWN if in_doubt else S.FAILED


@pytest.mark.parametrize(("result", "left", "earlier"), list(product(AttemptResult, (False, True), Earlier)))
def test_every_cell_of_the_table_settles_by_the_rule(result: AttemptResult, left: bool, earlier: Earlier) -> None:
    for promise, ambiguity, digest, too_late in product(Promise, Ambiguity, (False, True), (False, True)):
        terms = Terms(promise, ambiguity, Retry(within=timedelta(0)) if too_late else RETRY)
        settlement = settle(attempt(earlier, digest=digest), terms, Receipt(result, "words", left=left), NOW)
        status = expected(result, left, earlier, too_late=too_late)
        if digest and status is S.DEFERRED and earlier is not E.IN_DOUBT:
            assert (settlement.status, settlement.parts, settlement.due_at is not None) == (
                S.FAILED,
                S.DEFERRED,
                True,
            ), "the digest is dissolved"
            continue
        assert settlement.status is status
        assert settlement.status in TRANSITIONS[S.SENDING]
        assert (settlement.due_at is not None) is (status is S.DEFERRED)
        assert (settlement.lease is not None) is (status is S.SENDING)
        ends = {S.SENT: S.MERGED, S.FAILED: S.FAILED, S.UNKNOWN: S.UNKNOWN}
        assert settlement.parts is (ends.get(status) if digest else None)
        given_up = result is R.TRY_AGAIN and status is not S.DEFERRED
        assert settlement.detail == ("given up: words" if given_up else "words")


def test_the_tables_have_every_combination():
    assert set(NEXT) == set(product(AttemptResult, (False, True), Earlier))
    assert set(AFTER_LEASE) == set(product(Promise, Ambiguity))
    assert {status for row in NEXT.values() for status in (row.status, row.too_late)} <= TRANSITIONS[S.SENDING]


@pytest.mark.parametrize(
    ("promise", "ambiguity", "then"),
    [
        (Promise.KEYED, Ambiguity.AT_MOST_ONCE, AfterLease.DECIDE_AGAIN),
        (Promise.KEYED, Ambiguity.AT_LEAST_ONCE, AfterLease.DECIDE_AGAIN),
        (Promise.SEARCHABLE, Ambiguity.AT_MOST_ONCE, AfterLease.ASK_PROVIDER),
        (Promise.SEARCHABLE, Ambiguity.AT_LEAST_ONCE, AfterLease.ASK_PROVIDER),
        (Promise.BLIND, Ambiguity.AT_MOST_ONCE, AfterLease.END_UNKNOWN),
        (Promise.BLIND, Ambiguity.AT_LEAST_ONCE, AfterLease.DECIDE_AGAIN),
    ],
)
def test_an_attempt_of_unknown_end_has_a_lease_that_fits_what_follows_it(
    promise: Promise, ambiguity: Ambiguity, then: AfterLease
) -> None:
    terms = Terms(promise, ambiguity)
    assert after_lease(terms) is then
    settlement = settle(attempt(), terms, Receipt(R.UNKNOWN), NOW)
    assert settlement.lease == (RETRY.wait(3) if then is AfterLease.DECIDE_AGAIN else SLACK)


# -- attempts that count -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "after", "earlier", "attempts", "first"),
    [
        (True, None, E.NOTHING_LEFT, 3, NOW),
        (True, HOUR / 4, E.NOTHING_LEFT, 3, NOW),
        (False, None, E.NOTHING_LEFT, 3, None),
        (False, HOUR / 4, E.NOTHING_LEFT, 2, None),
        (False, None, E.FAILED, 3, NOW - HOUR / 2),
        (False, HOUR / 4, E.FAILED, 2, NOW - HOUR / 2),
    ],
)
def test_an_attempt_counts_unless_it_was_held_back_and_starts_the_time_only_if_it_left(
    left: bool, after: timedelta | None, earlier: Earlier, attempts: int, first: datetime | None
) -> None:
    settlement = settle(attempt(earlier), Terms(), Receipt(R.TRY_AGAIN, after=after, left=left), NOW)
    assert (settlement.status, settlement.attempts, settlement.first_attempt_at) == (S.DEFERRED, attempts, first)
    assert settlement.due_at == NOW + (after or RETRY.wait(3))


@pytest.mark.parametrize(
    ("receipt", "wait", "made"),
    [
        (Receipt(R.TRY_AGAIN), timedelta(0), True),
        (Receipt(R.TRY_AGAIN, outage=True, left=False), timedelta(0), True),
        (Receipt(R.TRY_AGAIN, pause=HOUR / 4, left=False), timedelta(0), False),
        (Receipt(R.TRY_AGAIN, after=HOUR / 4), HOUR / 4, True),
        (Receipt(R.TRY_AGAIN, after=HOUR / 4, left=False), HOUR / 4, False),
    ],
)
def test_on_a_test_clock_only_a_wait_that_the_provider_names_passes_by_the_clock(
    receipt: Receipt, wait: timedelta, made: bool
) -> None:
    on_clock = replace(attempt(), on_clock=True)
    settlement = settle(on_clock, Terms(), receipt, NOW)
    assert (settlement.status, settlement.due_at) == (S.DEFERRED, NOW + wait)
    assert settlement.attempts == (3 if made else 2)
    again = settle_found(on_clock, Terms(), False, NOW)
    assert (again.status, again.due_at) == (S.DEFERRED, NOW)


def test_a_deferred_message_has_a_sent_time_only_if_it_may_have_arrived():
    again = Receipt(R.TRY_AGAIN)
    assert settle(attempt(), Terms(), again, NOW).sent_at is None
    assert settle(attempt(E.IN_DOUBT), Terms(), again, NOW).sent_at == NOW


# -- lookups at the provider -------------------------------------------------------------------------------------------


def test_a_message_that_the_provider_has_is_sent():
    assert settle_found(attempt(), Terms(), True, NOW).status is S.SENT


def test_a_message_that_the_provider_lacks_is_retried_after_the_usual_wait_since_the_attempt():
    began = InFlight(3, NOW - timedelta(minutes=1), NOW - HOUR / 2, E.FAILED, is_digest=False)
    assert settle_found(began, Terms(), False, NOW).due_at == NOW + RETRY.wait(3) - timedelta(minutes=1)
    long_ago = InFlight(3, NOW - HOUR / 3, NOW - HOUR / 2, E.FAILED, is_digest=False)
    assert settle_found(long_ago, Terms(), False, NOW).due_at == NOW + timedelta(milliseconds=1)
    too_late = settle_found(attempt(since=2 * HOUR), Terms(), False, NOW)
    assert (too_late.status, too_late.detail) == (S.FAILED, "given up: the provider does not have it")


@pytest.mark.parametrize(
    ("waited", "status", "lease"),
    [
        (timedelta(0), S.SENDING, timedelta(minutes=1)),
        (timedelta(minutes=5), S.SENDING, timedelta(minutes=5)),
        (HOUR, S.SENDING, timedelta(minutes=8)),
        (HOUR + timedelta(seconds=1), S.UNKNOWN, None),
    ],
)
def test_lookups_at_an_unavailable_provider_become_rarer_and_end_as_unknown(
    waited: timedelta, status: Status, lease: timedelta | None
) -> None:
    settlement = settle_unanswered(attempt(since=waited), Terms(), NOW)
    assert (settlement.status, settlement.lease) == (status, lease)


def test_a_digest_that_cannot_be_looked_up_ends_as_unknown_with_all_its_parts():
    settlement = settle_unseen(attempt(digest=True))
    assert (settlement.status, settlement.parts) == (S.UNKNOWN, S.UNKNOWN)


# -- the page ----------------------------------------------------------------------------------------------------------


def test_the_page_has_every_cell_of_the_table():
    shown = {}
    for result, left, earlier, status, too_late in rows_of("| attempt |"):
        for cell in NEXT:
            words = (f"`{cell[0].value}`", "yes" if cell[1] else "no", cell[2].value)
            if all(row in {word, "any"} for row, word in zip((result, left, earlier), words, strict=True)):
                assert cell not in shown, cell
                shown[cell] = (status, too_late)
    assert shown == {cell: (f"`{row.status}`", f"`{row.too_late}`") for cell, row in NEXT.items()}


def test_the_page_has_the_table_of_attempts_of_unknown_end():
    assert rows_of("| class |") == [
        [promise.value, f"`{ambiguity.value}`", then.value] for (promise, ambiguity), then in AFTER_LEASE.items()
    ]


def rows_of(head: str) -> list[list[str]]:
    """The rows of the page's table with this heading."""
    (table,) = re.findall(rf"^{re.escape(head)}.*?\n\n", TEXT, re.DOTALL | re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
