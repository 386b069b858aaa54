"""Settlement of an attempt: the table of next statuses and its values.

Two tables decide; nothing here reads a clock or a database:

- `NEXT`, by the result of the attempt, whether anything left the process, and what is known of the attempts before it.
  A message of which nothing has ever left is not given up: the time for retries begins with the first attempt that left.
- `AFTER_LEASE`, by the provider's promise, for an attempt without a known result once its lease has expired. Until
  then its message stays `sending`, because `NEXT` has it for `UNKNOWN`, or because the process died.

| class | an attempt is known to have failed | its result is unknown |
|---|---|---|
| A, takes our key | retried by the channel's policy | retried: the key makes it harmless |
| B, searchable | retried by the channel's policy | searched by our reference: found, or retried |
| C, blind | retried by the channel's policy | `at_most_once`: `unknown`, for a person; `at_least_once`: retried |
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
    """The attempts of a message before the current one."""

    NOTHING_LEFT = "nothing has left the process"
    FAILED = "each that left is known to have failed"
    IN_DOUBT = "one may have arrived"


class AfterLease(Enum):
    """What is done about an attempt without a known result, once its lease has expired."""

    ASK_PROVIDER = "the provider is searched by our reference"
    DECIDE_AGAIN = "the gate decides again, in doubt"
    END_UNKNOWN = "the message is unknown"


@dataclass(frozen=True, slots=True)
class Next:
    """The next status; `too_late` if the time for retries would be over before the next attempt."""

    status: Status
    too_late: Status


_R, _E, _S = AttemptResult, Earlier, Status
_LEFT, _STAYED = True, False
_SENT, _FAILED, _UNKNOWN, _STILL_SENDING = (Next(s, s) for s in (_S.SENT, _S.FAILED, _S.UNKNOWN, _S.SENDING))
_RETRY_ALWAYS = Next(_S.DEFERRED, _S.DEFERRED)
_RETRY_THEN_FAILED = Next(_S.DEFERRED, _S.FAILED)
_RETRY_THEN_UNKNOWN = Next(_S.DEFERRED, _S.UNKNOWN)

NEXT: Final[Mapping[tuple[AttemptResult, bool, Earlier], Next]] = {
    **{(_R.SENT, left, earlier): _SENT for left, earlier in product((_LEFT, _STAYED), Earlier)},
    **{(_R.UNKNOWN, left, earlier): _STILL_SENDING for left, earlier in product((_LEFT, _STAYED), Earlier)},
    # The provider or Tenure has refused this message: another attempt would end like this one.
    (_R.REFUSED, _LEFT, _E.NOTHING_LEFT): _FAILED,
    (_R.REFUSED, _LEFT, _E.FAILED): _FAILED,
    (_R.REFUSED, _LEFT, _E.IN_DOUBT): _UNKNOWN,
    (_R.REFUSED, _STAYED, _E.NOTHING_LEFT): _FAILED,
    (_R.REFUSED, _STAYED, _E.FAILED): _FAILED,
    (_R.REFUSED, _STAYED, _E.IN_DOUBT): _UNKNOWN,
    # This attempt certainly did not arrive.
    (_R.TRY_AGAIN, _LEFT, _E.NOTHING_LEFT): _RETRY_THEN_FAILED,
    (_R.TRY_AGAIN, _LEFT, _E.FAILED): _RETRY_THEN_FAILED,
    (_R.TRY_AGAIN, _LEFT, _E.IN_DOUBT): _RETRY_THEN_UNKNOWN,
    (_R.TRY_AGAIN, _STAYED, _E.NOTHING_LEFT): _RETRY_ALWAYS,
    (_R.TRY_AGAIN, _STAYED, _E.FAILED): _RETRY_THEN_FAILED,
    (_R.TRY_AGAIN, _STAYED, _E.IN_DOUBT): _RETRY_THEN_UNKNOWN,
}
UNANSWERED: Final = Next(_S.SENDING, _S.UNKNOWN)
"""For an attempt whose provider could not be searched."""

AFTER_LEASE: Final[Mapping[tuple[Promise, Ambiguity], AfterLease]] = {
    (Promise.KEYED, Ambiguity.AT_MOST_ONCE): AfterLease.DECIDE_AGAIN,
    (Promise.KEYED, Ambiguity.AT_LEAST_ONCE): AfterLease.DECIDE_AGAIN,
    (Promise.SEARCHABLE, Ambiguity.AT_MOST_ONCE): AfterLease.ASK_PROVIDER,
    (Promise.SEARCHABLE, Ambiguity.AT_LEAST_ONCE): AfterLease.ASK_PROVIDER,
    (Promise.BLIND, Ambiguity.AT_MOST_ONCE): AfterLease.END_UNKNOWN,
    (Promise.BLIND, Ambiguity.AT_LEAST_ONCE): AfterLease.DECIDE_AGAIN,
}


class DeliveryTerms(Protocol):
    """The promise and the retries of a channel."""

    promise: Promise
    ambiguity: Ambiguity
    retry: Retry


@dataclass(frozen=True, slots=True)
class InFlight:
    """The current attempt: its number, when it and the first one began, and what is known of those before it.

    On a test clock (`on_clock`) only a provider's own wait passes by that clock; any other holds it (record 0016).
    """

    number: int
    began_at: datetime
    first_at: datetime
    earlier: Earlier
    is_digest: bool
    on_clock: bool = False


@dataclass(frozen=True, slots=True)
class Settlement:
    """The result of an attempt for its message. `attempts` and `first_attempt_at` are of attempts that were made.

    `due_at` is when the next attempt is due, of the message or of each of its `parts`; `lease` how long from now the
    message stays `sending`; `parts` the next status of a digest's parts, if they have one.
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
    """What this channel does about an attempt without a known result."""
    return AFTER_LEASE[terms.promise, terms.ambiguity]


def settle(attempt: InFlight, terms: DeliveryTerms, receipt: Receipt, now: datetime) -> Settlement:
    """The settlement of an attempt by its receipt."""
    due = now + _wait(attempt, terms, receipt)
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
    """The settlement of an attempt by the answer of its provider.

    A message that the provider does not have is retried no sooner than after any other failed attempt. Otherwise a
    provider that always fails would be tried every few seconds.
    """
    if found:
        return settle(attempt, terms, Receipt(AttemptResult.SENT, "found at the provider"), now)
    pause = max(AT_ONCE, attempt.began_at + terms.retry.wait(attempt.number) - now)
    return settle(attempt, terms, Receipt(AttemptResult.TRY_AGAIN, "the provider does not have it", pause=pause), now)


def settle_unanswered(attempt: InFlight, terms: DeliveryTerms, now: datetime) -> Settlement:
    """Search again after as long as the message has waited, until the time for retries is over."""
    waited = timedelta() if attempt.on_clock else now - attempt.first_at
    if waited > terms.retry.within:
        return _settlement(attempt, UNANSWERED.too_late, "the provider could not be searched for it")
    lease = max(terms.retry.first, min(terms.retry.longest, waited))
    return _settlement(attempt, UNANSWERED.status, "the provider cannot be searched now", lease=lease)


def settle_unseen(attempt: InFlight, why: str | None = None) -> Settlement:
    """The settlement of an attempt without a known result, by a channel that does not retry it, or that is gone."""
    unknown = "the result of the attempt is unknown"
    return _settlement(attempt, Status.UNKNOWN, f"{unknown}: {why}" if why else unknown)


def _wait(attempt: InFlight, terms: DeliveryTerms, receipt: Receipt) -> timedelta:
    """The wait before the next attempt. On a test clock it is made at the same instant unless the provider named a wait."""
    if attempt.on_clock:
        return receipt.after or timedelta()
    return receipt.after or receipt.pause or terms.retry.wait(attempt.number)


def _lease(attempt: InFlight, terms: DeliveryTerms) -> timedelta:
    """How long an attempt without a known result is left alone. A provider that can be searched is searched soon.

    An attempt of a process that died is taken over once its own lease has expired: no provider has failed.
    """
    if after_lease(terms) is AfterLease.DECIDE_AGAIN:
        return max(SLACK, terms.retry.wait(attempt.number))
    return SLACK


def _tried_again(attempt: InFlight, receipt: Receipt, due: datetime) -> Settlement:
    """Wait for the next attempt. A digest that did not arrive is dissolved: each part is decided again by itself.

    An attempt that was held back before it left (circuit breaker, rate limit, a pause), with a time to wait, does not
    count.
    """
    in_doubt = attempt.earlier is Earlier.IN_DOUBT
    if attempt.is_digest and not in_doubt:
        return _settlement(
            attempt, Status.FAILED, f"each part is decided again: {receipt.detail}", due_at=due, parts=Status.DEFERRED
        )
    made = receipt.left or (receipt.after is None and receipt.pause is None)
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
    """The settlement of an attempt that was made. If the message ends, the parts of a digest end with it."""
    if attempt.is_digest and parts is None and status in SETTLED:
        parts = Status.MERGED if status is Status.SENT else status
    return Settlement(status, detail, attempt.number, attempt.first_at, attempt.began_at, due_at, lease, parts)
