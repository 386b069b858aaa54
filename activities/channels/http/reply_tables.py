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

LONGEST_PAUSE = timedelta(hours=1)
"""A provider that asks for more is asked again after this: a wrong header must not silence a channel for a day."""


class ReplyMeaning(Enum):
    """What an answer says about the one message that was handed over."""

    ACCEPTED = "accepted"
    PERMANENT = "permanent"
    """It will never take this message: recorded, not tried again."""
    TRANSIENT = "transient"
    """It has not taken it, and may take it later."""
    AMBIGUOUS = "ambiguous"
    """It may have taken it."""
    DOWN = "down"
    """Transient, and nobody is served: counts for the breaker."""
    OURS = "ours"
    """Our key, sender or address is refused, as for everyone: transient for the person, the operator's turn to mend."""
    LOST = "lost"
    """Ambiguous, and nobody is served well: counts for the breaker."""


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


@dataclass(frozen=True, slots=True)
class ReplyRow:
    """`status` is a number or a class such as `5xx`; `code` the provider's own word or number, where it decides; `*` is any."""

    status: str
    means: ReplyMeaning
    code: str = ""
    about: str = ""

    def fits(self, status: int, code: str) -> bool:
        """Whether this row is about such an answer."""
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
    ReplyRow("3xx", ReplyMeaning.OURS, about="the address has moved; redirects are not followed"),
    ReplyRow("4xx", ReplyMeaning.PERMANENT),
    ReplyRow("5xx", ReplyMeaning.DOWN, about="asked again with the same key"),
)
"""For a provider that takes our key: whatever is unclear is asked again."""
BLIND_TAIL: ReplyTable = (
    ReplyRow("2xx", ReplyMeaning.ACCEPTED),
    ReplyRow("401", ReplyMeaning.OURS, about="the key is not accepted"),
    ReplyRow("403", ReplyMeaning.OURS, about="the key may not do this"),
    ReplyRow("408", ReplyMeaning.AMBIGUOUS),
    ReplyRow("409", ReplyMeaning.TRANSIENT),
    ReplyRow("425", ReplyMeaning.TRANSIENT),
    ReplyRow("429", ReplyMeaning.TRANSIENT, about="too fast; Retry-After is kept for the whole provider"),
    ReplyRow("3xx", ReplyMeaning.OURS, about="the address has moved; redirects are not followed"),
    ReplyRow("4xx", ReplyMeaning.PERMANENT),
    ReplyRow("503", ReplyMeaning.DOWN, about="not taken"),
    ReplyRow("5xx", ReplyMeaning.LOST, about="it may have been taken before the fault"),
)
"""For a provider that takes no key: after 500, 502 and 504 nobody knows."""


def receipt(
    table: ReplyTable, reply: HttpReply, code: str = "", words: str = "", *, now: datetime | None = None
) -> Receipt:
    """What became of the message. An answer that no row fits is ambiguous."""
    row = next((each for each in table if each.fits(reply.status, code)), ReplyRow("", ReplyMeaning.LOST))
    detail = " ".join(part for part in (str(reply.status), code, without_personal_data(words)) if part)[:200]
    pause = retry_after(reply, now) if row.means in {ReplyMeaning.TRANSIENT, ReplyMeaning.DOWN} else None
    return Receipt(_RESULTS[row.means], detail, after=pause, outage=row.means in _OUTAGES)


def retry_after(reply: HttpReply, now: datetime | None = None) -> timedelta | None:
    """The header of RFC 9110 §10.2.3, seconds or a date; None if there is none that can be read."""
    given = reply.headers.get("retry-after", "").strip()
    if given.isascii() and given.isdigit() and len(given) < 10:
        return min(LONGEST_PAUSE, timedelta(seconds=int(given)))
    try:
        until = parsedate_to_datetime(given)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return min(LONGEST_PAUSE, max(timedelta(0), until - (now or datetime.now(UTC))))


_PERSONAL = re.compile(r"\S*@\S*|\+?\d[\d ()/-]{5,}\d|\S{60,}")


def without_personal_data(words: str) -> str:
    """A provider's words without addresses, numbers of telephones and tokens, which they like to repeat."""
    plain = " ".join("".join(mark if mark.isprintable() else " " for mark in words).split())
    return _PERSONAL.sub("…", plain)
