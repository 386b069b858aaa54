"""Settlement of an attempt: the table of next statuses and its values.

Two tables decide, and nothing here asks a clock or a database:

- `NEXT`, by how the attempt ended, whether anything left the process, and what is known of the attempts before it. Only who
  knows that nothing has ever left need not give up: the time for tries begins with the first attempt that left.
- `AFTER_LEASE`, by what the provider lets us promise, for an attempt whose end nobody saw once its lease has run out. Its
  message stays `sending` until then, because `NEXT` says so for `UNKNOWN`, or because the process died.

| class | an attempt is known to have failed | nobody saw how it ended |
|---|---|---|
| A, takes our key | tried again by the channel's policy | the same: the key makes it harmless |
| B, searchable | tried again by the channel's policy | asked for by our reference: there, or the same |
| C, blind | tried again by the channel's policy | `at_most_once`: `unknown`, for a person; `at_least_once`: the same |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from itertools import product
from typing import Final, Protocol

from activities.ports import SLACK, Ambiguity, AttemptResult, Promise, Receipt, Retry
from journeys.gate.status import SETTLED, Status

AT_ONCE: Final = timedelta(milliseconds=1)


class Earlier(Enum):
    """The attempts of a message before the one in hand."""

    NOTHING_LEFT = "nothing has left the process"
    FAILED = "each that left is known to have failed"
    IN_DOUBT = "one may have arrived"


class AfterLease(Enum):
    """What is done about an attempt whose end nobody saw, once its lease has run out."""

    ASK_PROVIDER = "the provider is asked by our reference"
    DECIDE_AGAIN = "the gate decides again, in doubt"
    END_UNKNOWN = "the message is unknown"


@dataclass(frozen=True, slots=True)
class Next:
    """The next status; `too_late` where the time for tries would be over before the next one."""

    status: Status
    too_late: Status


_R, _E, _S = AttemptResult, Earlier, Status
_LEFT, _STAYED = True, False
_SENT, _FAILED, _UNKNOWN, _STILL_SENDING = (Next(s, s) for s in (_S.SENT, _S.FAILED, _S.UNKNOWN, _S.SENDING))
_AGAIN_FOR_EVER = Next(_S.DEFERRED, _S.DEFERRED)
_AGAIN_THEN_FAILED = Next(_S.DEFERRED, _S.FAILED)
_AGAIN_THEN_UNKNOWN = Next(_S.DEFERRED, _S.UNKNOWN)

NEXT: Final[Mapping[tuple[AttemptResult, bool, Earlier], Next]] = {
    **{(_R.SENT, left, earlier): _SENT for left, earlier in product((_LEFT, _STAYED), Earlier)},
    **{(_R.UNKNOWN, left, earlier): _STILL_SENDING for left, earlier in product((_LEFT, _STAYED), Earlier)},
    # The provider has refused this message, or we have: another attempt would end as this one did.
    (_R.REFUSED, _LEFT, _E.NOTHING_LEFT): _FAILED,
    (_R.REFUSED, _LEFT, _E.FAILED): _FAILED,
    (_R.REFUSED, _LEFT, _E.IN_DOUBT): _UNKNOWN,
    (_R.REFUSED, _STAYED, _E.NOTHING_LEFT): _FAILED,
    (_R.REFUSED, _STAYED, _E.FAILED): _FAILED,
    (_R.REFUSED, _STAYED, _E.IN_DOUBT): _UNKNOWN,
    # It surely did not arrive this time.
    (_R.TRY_AGAIN, _LEFT, _E.NOTHING_LEFT): _AGAIN_THEN_FAILED,
    (_R.TRY_AGAIN, _LEFT, _E.FAILED): _AGAIN_THEN_FAILED,
    (_R.TRY_AGAIN, _LEFT, _E.IN_DOUBT): _AGAIN_THEN_UNKNOWN,
    (_R.TRY_AGAIN, _STAYED, _E.NOTHING_LEFT): _AGAIN_FOR_EVER,
    (_R.TRY_AGAIN, _STAYED, _E.FAILED): _AGAIN_THEN_FAILED,
    (_R.TRY_AGAIN, _STAYED, _E.IN_DOUBT): _AGAIN_THEN_UNKNOWN,
}
UNANSWERED: Final = Next(_S.SENDING, _S.UNKNOWN)
"""Of an attempt about which its provider could not be asked."""

AFTER_LEASE: Final[Mapping[tuple[Promise, Ambiguity], AfterLease]] = {
    (Promise.KEYED, Ambiguity.AT_MOST_ONCE): AfterLease.DECIDE_AGAIN,
    (Promise.KEYED, Ambiguity.AT_LEAST_ONCE): AfterLease.DECIDE_AGAIN,
    (Promise.SEARCHABLE, Ambiguity.AT_MOST_ONCE): AfterLease.ASK_PROVIDER,
    (Promise.SEARCHABLE, Ambiguity.AT_LEAST_ONCE): AfterLease.ASK_PROVIDER,
    (Promise.BLIND, Ambiguity.AT_MOST_ONCE): AfterLease.END_UNKNOWN,
    (Promise.BLIND, Ambiguity.AT_LEAST_ONCE): AfterLease.DECIDE_AGAIN,
}


class DeliveryTerms(Protocol):
    """A channel, as far as its promise and its retries go."""

    promise: Promise
    ambiguity: Ambiguity
    retry: Retry


@dataclass(frozen=True, slots=True)
class InFlight:
    """The attempt in hand: its number, when it and the first one began, and what is known of those before it."""

    number: int
    began_at: datetime
    first_at: datetime
    earlier: Earlier
    is_digest: bool


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an attempt makes of its message. `attempts` and `first_attempt_at` are of attempts that were made.

    `due_at` is the next attempt's, of the message or of each of its `parts`; `lease` how long from now the message stays
    `sending`; `parts` the next status of a digest's parts, if they have one.
    """

    status: Status
    detail: str
    attempts: int
    first_attempt_at: datetime | None
    sent_at: datetime | None
    due_at: datetime | None = None
    lease: timedelta | None = None
    parts: Status | None = None


def after_lease(terms: DeliveryTerms) -> AfterLease:
    """What is done by this channel about an attempt whose end nobody saw."""
    return AFTER_LEASE[terms.promise, terms.ambiguity]


def settle(attempt: InFlight, terms: DeliveryTerms, receipt: Receipt, now: datetime) -> Settlement:
    """What the end of an attempt makes of its message."""
    due = now + (receipt.after or terms.retry.wait(attempt.number))
    row = NEXT[receipt.result, receipt.left, attempt.earlier]
    too_late = due > attempt.first_at + terms.retry.within
    status = row.too_late if too_late else row.status
    if status is Status.DEFERRED:
        return _tried_again(attempt, receipt, due)
    if status is Status.SENDING:
        return _settlement(attempt, status, receipt.detail, lease=_lease(attempt, terms))
    given_up = row.status is Status.DEFERRED
    return _settlement(attempt, status, f"given up: {receipt.detail}" if given_up else receipt.detail)


def settle_found(attempt: InFlight, terms: DeliveryTerms, found: bool, now: datetime) -> Settlement:
    """What the provider's answer about an attempt makes of its message.

    One that it does not have is tried again no sooner than after any other attempt that failed, or a provider that always
    fails is tried every few seconds.
    """
    if found:
        return settle(attempt, terms, Receipt(AttemptResult.SENT, "found at the provider"), now)
    wait = max(AT_ONCE, attempt.began_at + terms.retry.wait(attempt.number) - now)
    return settle(attempt, terms, Receipt(AttemptResult.TRY_AGAIN, "the provider does not have it", wait), now)


def settle_unanswered(attempt: InFlight, terms: DeliveryTerms, now: datetime) -> Settlement:
    """Ask again after as long as the message has waited, until the time for tries is over."""
    waited = now - attempt.first_at
    if waited > terms.retry.within:
        return _settlement(attempt, UNANSWERED.too_late, "the provider could not be asked what became of it")
    lease = max(terms.retry.first, min(terms.retry.longest, waited))
    return _settlement(attempt, UNANSWERED.status, "cannot be asked now", lease=lease)


def settle_unseen(attempt: InFlight) -> Settlement:
    """The end of an attempt by a channel that leaves it at that."""
    return _settlement(attempt, Status.UNKNOWN, "nobody saw how the attempt ended")


def _lease(attempt: InFlight, terms: DeliveryTerms) -> timedelta:
    """For how long an attempt that nobody saw end is left alone: a provider that can be asked is asked soon.

    What a process left that died is taken up as soon as the attempt's own lease is over: nobody has seen a provider fail.
    """
    if after_lease(terms) is AfterLease.DECIDE_AGAIN:
        return max(SLACK, terms.retry.wait(attempt.number))
    return SLACK


def _tried_again(attempt: InFlight, receipt: Receipt, due: datetime) -> Settlement:
    """Wait for the next attempt. A digest that surely did not arrive is dissolved: each part is decided again by itself.

    An attempt that was held back before it left (breaker, rate limit, a pause) and was told when to come back is none.
    """
    in_doubt = attempt.earlier is Earlier.IN_DOUBT
    if attempt.is_digest and not in_doubt:
        return _settlement(
            attempt, Status.FAILED, f"each part again: {receipt.detail}", due_at=due, parts=Status.DEFERRED
        )
    made = receipt.left or receipt.after is None
    never_left = attempt.earlier is Earlier.NOTHING_LEFT and not receipt.left
    return Settlement(
        Status.DEFERRED,
        receipt.detail,
        attempts=attempt.number if made else attempt.number - 1,
        first_attempt_at=None if never_left else attempt.first_at,
        sent_at=attempt.began_at if in_doubt else None,
        due_at=due,
    )


def _settlement(
    attempt: InFlight,
    status: Status,
    detail: str,
    *,
    due_at: datetime | None = None,
    lease: timedelta | None = None,
    parts: Status | None = None,
) -> Settlement:
    """An attempt that was made; where the message ends, the parts of a digest end with it."""
    if attempt.is_digest and parts is None and status in SETTLED:
        parts = Status.MERGED if status is Status.SENT else status
    return Settlement(status, detail, attempt.number, attempt.first_at, attempt.began_at, due_at, lease, parts)
