"""Reply tables: the meaning of a provider's status and code, as data.

The first matching row decides.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum

from activities.outgoing.client import HttpReply
from activities.ports import AttemptResult, Receipt
from journeys.consent.failure_classes import FAILURES, HTTP, OF_COUNTRY, FailureClass, class_of

MAX_PAUSE = timedelta(hours=1)
"""Longest `Retry-After` that is respected: a wrong header must not stop a channel for a day."""


class ReplyMeaning(Enum):
    """Meaning of a reply for the message that was sent."""

    ACCEPTED = "accepted"
    PERMANENT = "permanent"
    """The provider will never accept this message: recorded, not tried again."""
    TRANSIENT = "transient"
    """Not accepted; it may be later."""
    AMBIGUOUS = "ambiguous"
    """It may have been accepted."""
    DOWN = "down"
    """Transient, and the provider is down for everyone: counts for the circuit breaker."""
    OURS = "ours"
    """Our key, sender or URL is rejected, or our quota used up, for everyone: transient for the person, the operator's turn."""
    LOST = "lost"
    """Ambiguous, and the provider has a problem: counts for the circuit breaker."""


_RESULTS = {
    ReplyMeaning.ACCEPTED: AttemptResult.SENT,
    ReplyMeaning.PERMANENT: AttemptResult.REFUSED,
    ReplyMeaning.TRANSIENT: AttemptResult.TRY_AGAIN,
    ReplyMeaning.AMBIGUOUS: AttemptResult.UNKNOWN,
    ReplyMeaning.DOWN: AttemptResult.TRY_AGAIN,
    ReplyMeaning.OURS: AttemptResult.TRY_AGAIN,
    ReplyMeaning.LOST: AttemptResult.UNKNOWN,
}
_OUTAGES = frozenset({ReplyMeaning.DOWN, ReplyMeaning.OURS, ReplyMeaning.LOST})
_PAUSES = frozenset({ReplyMeaning.TRANSIENT, ReplyMeaning.DOWN, ReplyMeaning.OURS})


@dataclass(frozen=True, slots=True)
class ReplyRow:
    """`status` is a number or a class such as `5xx`; `code` is the provider's error code if it matters, `*` for any."""

    status: str
    means: ReplyMeaning
    code: str = ""
    about: str = ""

    def fits(self, status: int, code: str) -> bool:
        """Whether this row matches the reply."""
        number = str(status)
        same = self.status in {number, f"{number[:1]}xx"}
        return same and (not self.code or self.code == code or (self.code == "*" and bool(code)))


ReplyTable = Sequence[ReplyRow]

KEYED_TAIL: ReplyTable = (
    ReplyRow("2xx", ReplyMeaning.ACCEPTED),
    ReplyRow("401", ReplyMeaning.OURS, about="the key is not accepted"),
    ReplyRow("403", ReplyMeaning.OURS, about="the key may not do this"),
    ReplyRow("408", ReplyMeaning.TRANSIENT),
    ReplyRow("409", ReplyMeaning.TRANSIENT, about="the same key is in flight"),
    ReplyRow("425", ReplyMeaning.TRANSIENT),
    ReplyRow("429", ReplyMeaning.TRANSIENT, about="too fast; Retry-After is kept for the whole provider"),
    ReplyRow("3xx", ReplyMeaning.OURS, about="the URL has moved; redirects are not followed"),
    ReplyRow("4xx", ReplyMeaning.PERMANENT),
    ReplyRow("5xx", ReplyMeaning.DOWN, about="tried again with the same key"),
)
"""Last rows for a provider with idempotency keys: an unclear result is tried again."""
BLIND_TAIL: ReplyTable = (
    ReplyRow("2xx", ReplyMeaning.ACCEPTED),
    ReplyRow("401", ReplyMeaning.OURS, about="the key is not accepted"),
    ReplyRow("403", ReplyMeaning.OURS, about="the key may not do this"),
    ReplyRow("408", ReplyMeaning.AMBIGUOUS),
    ReplyRow("409", ReplyMeaning.TRANSIENT),
    ReplyRow("425", ReplyMeaning.TRANSIENT),
    ReplyRow("429", ReplyMeaning.TRANSIENT, about="too fast; Retry-After is kept for the whole provider"),
    ReplyRow("3xx", ReplyMeaning.OURS, about="the URL has moved; redirects are not followed"),
    ReplyRow("4xx", ReplyMeaning.PERMANENT),
    ReplyRow("503", ReplyMeaning.DOWN, about="not accepted"),
    ReplyRow("5xx", ReplyMeaning.LOST, about="it may have been accepted before the error"),
)
"""Last rows for a provider without idempotency keys: 500, 502 and 504 are ambiguous."""


def receipt_for(
    table: ReplyTable,
    reply: HttpReply,
    code: str = "",
    words: str = "",
    *,
    system: str = HTTP,
    now: datetime | None = None,
) -> Receipt:
    """Receipt for a reply. A reply that matches no row is ambiguous. `system` names the provider in the table of failures."""
    row = next(
        (candidate for candidate in table if candidate.fits(reply.status, code)), ReplyRow("", ReplyMeaning.LOST)
    )
    detail = " ".join(part for part in (str(reply.status), code, without_personal_data(words)) if part)[:200]
    pause = retry_after(reply, now) if row.means in _PAUSES else None
    failure = failure_of_row(row, system)
    return Receipt(
        _RESULTS[row.means],
        detail,
        after=pause,
        outage=row.means in _OUTAGES,
        failure=failure,
        of_country=(system, row.code) in OF_COUNTRY,
    )


def failure_of_row(row: ReplyRow, system: str) -> FailureClass | None:
    """What a permanent refusal by this row is about; None for a row that refuses nothing for good."""
    if row.means not in {ReplyMeaning.PERMANENT, ReplyMeaning.OURS}:
        return None
    key = row.code or row.status
    return class_of(system if (system, key) in FAILURES else HTTP, key)


def retry_after(reply: HttpReply, now: datetime | None = None) -> timedelta | None:
    """`Retry-After` (RFC 9110 §10.2.3), in seconds or as a date; None if missing or unreadable."""
    value = reply.headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit() and len(value) < 10:
        return min(MAX_PAUSE, timedelta(seconds=int(value)))
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(MAX_PAUSE, max(timedelta(0), until - (now or datetime.now(UTC))))


_PERSONAL = re.compile(r"\S*@\S*|\+?\d[\d ()/-]{5,}\d|\S{60,}")


def without_personal_data(words: str) -> str:
    """A provider's message without addresses, phone numbers and tokens, which providers like to repeat."""
    plain = " ".join("".join(mark if mark.isprintable() else " " for mark in words).split())
    return _PERSONAL.sub("…", plain)
