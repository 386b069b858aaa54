"""Lines of the feed: verdicts, ends of attempts, and reactions to messages.

A line names people by our random keys and the company's own ids, and nothing else about them: no address, no text, no
provider's words (those are at `/v1/messages/{id}/why`, for operators).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from journeys.gate.status import MEANINGS, Status

SCHEMA: Final = 1
"""Fields may be added under one number; what changes its meaning or goes away gives the next."""
MOST: Final = 1_000
"""Lines of a page."""

_REACTED: Final = ("link", "item", "kind", "permanent")
"""What is told of a reaction beside its name: which link, which item of a list, what kind of bounce."""


def feed_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the feed as it is written; `row` has its columns, those of its message, and those of its event."""
    told = {"id": row["id"], "at": row["at"], **_what(row), "trace": row["trace"], "message": _message(row)}
    return {name: value for name, value in told.items() if value is not None}


def lines_with_reasons(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same row for people who may read why: with the reasons in words, and without the message, whose story it is."""
    what = {"at": row["at"], **_what(row)}
    if what["type"] == "decision":
        what["reasons"] = [{name: each[name] for name in ("code", "text")} for each in row["reasons"] or ()]
    return {name: value for name, value in what.items() if value is not None}


def feed_page(lines: Sequence[Mapping[str, Any]], after: int, *, more: bool) -> dict[str, Any]:
    """Lines in order, from behind `after`; `next` is where the next page begins."""
    following = lines[-1]["id"] if lines else after
    return {"schema": SCHEMA, "after": after, "next": following, "more": more, "items": list(lines)}


def identity(after: int, following: int) -> str:
    """What a signature is over beside the bytes: which part of the feed this is. The same part has the same name."""
    return f"feed_{after}_{following}"


def _what(row: Mapping[str, Any]) -> dict[str, Any]:
    if row["event"] is not None:
        data = row["event_data"] or {}
        name = str(row["event_name"]).removeprefix("message_")
        more = {key: data[key] for key in _REACTED if key in data}
        return {"type": "reaction", "reaction": name, "happened_at": row["event_at"], **more}
    status = Status(row["status"])
    if _ends_attempt(row["was"], status) and not row["decided"]:
        return {"type": "delivery", "result": result_word(status), "attempt": row["attempt"], "until": row["until"]}
    return {
        "type": "decision",
        "verdict": _verdict(row["was"], status, decided=row["decided"]),
        "attempt": row["attempt"] if status in {Status.SENDING, Status.SENT} else None,
        "until": row["until"],
        "into": row["whole_id"] if status is Status.MERGED else None,
        "reasons": [{name: each[name] for name in ("code", "rule") if each.get(name)} for each in row["reasons"] or ()],
    }


def result_word(status: Status) -> str:
    """The end of an attempt in the feed: a message that waits again is tried again."""
    return "retry" if status is Status.DEFERRED else status.value


def _ends_attempt(was: str | None, status: Status) -> bool:
    """A part of a digest ends as the digest does; what was deferred out of it had no attempt of its own."""
    return was == Status.SENDING or (was == Status.MERGED and status is not Status.DEFERRED)


def _verdict(was: str | None, status: Status, *, decided: bool) -> str:
    """What had ended and waits again, by an operator's hand or because its digest did not arrive, is to be decided again."""
    if status is Status.DEFERRED and not decided and was not in {None, Status.DEFERRED}:
        return "again"
    return MEANINGS[status].verdict


def _message(row: Mapping[str, Any]) -> dict[str, Any]:
    """`status` is the ledger's after this line; the rest names the message."""
    names = (
        "key", "run", "step", "journey", "state", "action", "template", "topic", "priority", "channel", "status",
        "recipient", "subject", "user_id",
    )  # fmt: skip
    return {"id": row["message"], **{name: row[name] for name in names}}
