"""Lines of the feed: verdicts, ends of attempts, and reactions to messages.

A line identifies people by random keys and the company's own ids. It has no address, no text and no provider's reply;
operators read these at `/v1/messages/{id}/why`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from journeys.gate.status import MEANINGS, Status

SCHEMA: Final = 1
"""The version of the lines: it stays when a field is added, and increases when one changes or is removed."""
MOST: Final = 1_000
"""The most lines of a page."""

_REACTED: Final = ("link", "item", "kind", "permanent")
"""Properties of a reaction that its line has: the link, the item of a checklist, the kind of bounce."""


def feed_line(row: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a row; `row` has the columns of the feed, of its message and of its event."""
    line = {
        "id": row["id"],
        "at": row["at"],
        **_decision_or_result(row),
        "trace": row["trace"],
        "message": _message(row),
    }
    return {name: value for name, value in line.items() if value is not None}


def lines_with_reasons(row: Mapping[str, Any]) -> dict[str, Any]:
    """The line of a row with its reasons in words and without its message, for the history of one message."""
    line = {"at": row["at"], **_decision_or_result(row)}
    if line["type"] == "decision":
        line["reasons"] = [{name: reason[name] for name in ("code", "text")} for reason in row["reasons"] or ()]
    return {name: value for name, value in line.items() if value is not None}


def feed_page(lines: Sequence[Mapping[str, Any]], after: int, *, more: bool) -> dict[str, Any]:
    """Lines in order, from behind `after`; `next` is where the next page begins."""
    following = lines[-1]["id"] if lines else after
    return {"schema": SCHEMA, "after": after, "next": following, "more": more, "items": list(lines)}


def identity(after: int, following: int) -> str:
    """The id of a part of the feed, which a signature covers beside the bytes. The same part has the same id."""
    return f"feed_{after}_{following}"


def _decision_or_result(row: Mapping[str, Any]) -> dict[str, Any]:
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
        "reasons": [
            {name: reason[name] for name in ("code", "rule") if reason.get(name)} for reason in row["reasons"] or ()
        ],
    }


def result_word(status: Status) -> str:
    """The result of an attempt in the feed: `retry` for a message that waits again."""
    return "retry" if status is Status.DEFERRED else status.value


def _ends_attempt(was: str | None, status: Status) -> bool:
    """Whether a row is the end of an attempt. A part that is deferred out of its digest had no attempt of its own."""
    return was == Status.SENDING or (was == Status.MERGED and status is not Status.DEFERRED)


def _verdict(was: str | None, status: Status, *, decided: bool) -> str:
    """The verdict of a row: `again` for a message that had ended and waits again (resent, or its digest failed)."""
    if status is Status.DEFERRED and not decided and was not in {None, Status.DEFERRED}:
        return "again"
    return MEANINGS[status].verdict


def _message(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that identify a message; `status` is the ledger's after this line."""
    names = (
        "key", "run", "step", "journey", "state", "action", "template", "topic", "priority", "channel", "status",
        "recipient", "subject", "user_id",
    )  # fmt: skip
    return {"id": row["message"], **{name: row[name] for name in names}}
