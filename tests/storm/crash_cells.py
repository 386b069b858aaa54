"""The matrix: every way out of the house, with the promise of its class, and every point at which its process may die."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from activities.ports import Ambiguity, Promise

POINTS: Final = (
    "row-before",
    "row-after",
    "hand-over-before",
    "hand-over-after",
    "acceptance-before",
    "acceptance-after",
    "mark-before",
    "mark-after",
)
"""Around the commit of the ledger's row, the last byte, the provider's yes, and the commit that writes it down."""
UNTAKEN: Final = frozenset({"row-before", "row-after", "hand-over-before", "acceptance-before"})
"""Who dies here dies before the provider has taken anything. After the last byte it may or may not."""
UNSEEN: Final = frozenset(POINTS[1:-1])
"""Who dies here leaves an attempt whose end nobody has seen."""
Kind = Literal["message", "audience", "task"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """One way out. `via` is its channel; `vendor` where the local provider keeps what it took."""

    name: str
    promise: Promise
    vendor: str
    via: str = ""
    kind: Kind = "message"
    ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE
    data: str = ""
    points: tuple[str, ...] = POINTS


ADAPTERS: Final = {
    each.name: each
    for each in (
        Adapter("smtp_searched", Promise.SEARCHABLE, "mail", "email"),
        Adapter("smtp_once", Promise.BLIND, "mail", "email"),
        Adapter("smtp_least", Promise.BLIND, "mail", "email", ambiguity=Ambiguity.AT_LEAST_ONCE),
        Adapter("resend", Promise.KEYED, "resend", "email"),
        Adapter("in_app", Promise.KEYED, "inbox", "in_app", points=("row-before", "row-after")),
        Adapter("sms", Promise.BLIND, "twilio", "sms"),
        Adapter("fcm", Promise.BLIND, "fcm", "push", ambiguity=Ambiguity.AT_LEAST_ONCE),
        Adapter("web_push", Promise.BLIND, "webpush", "push", ambiguity=Ambiguity.AT_LEAST_ONCE),
        Adapter("chat", Promise.SEARCHABLE, "slack", "chat"),
        Adapter("webhook", Promise.KEYED, "receiver", "webhook"),
        Adapter("ticket", Promise.SEARCHABLE, "zendesk", "support"),
        Adapter("comment", Promise.SEARCHABLE, "zendesk", "support", data="{ticket_id: \"'77'\"}"),
        Adapter("webinar", Promise.SEARCHABLE, "zoom", "webinar", data="{webinar_id: \"'987654321'\"}"),
        Adapter("apprise", Promise.BLIND, "tail", "apprise"),
        Adapter("google", Promise.KEYED, "google", kind="audience", points=POINTS[2:]),
        Adapter("meta", Promise.KEYED, "meta", kind="audience", points=POINTS[2:]),
        Adapter("hubspot", Promise.KEYED, "hubspot", kind="task"),
        Adapter("salesforce", Promise.KEYED, "salesforce", kind="task"),
    )
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One death. Every request that belongs to it carries its marker, and no other's."""

    marker: str
    adapter: str
    point: str

    @property
    def of(self) -> Adapter:
        return ADAPTERS[self.adapter]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def cells(points: tuple[str, ...] = POINTS, kinds: tuple[Kind, ...] = ("message", "audience", "task")) -> list[Cell]:
    """All of the matrix, or some."""

    def found() -> Iterator[tuple[str, str]]:
        for each in ADAPTERS.values():
            for point in each.points:
                if point in points and each.kind in kinds:
                    yield each.name, point

    return [Cell(f"cell{number:03}x", adapter, point) for number, (adapter, point) in enumerate(found())]


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one cell: the ledger's word, if it has one, and how often the provider has it."""

    cell: Cell
    exit: int
    taken: int
    status: str = "sent"


def broken(seen: Seen) -> str:
    """How the promise of its class was broken; empty if it was kept."""
    of, point = seen.cell.of, seen.cell.point
    if not seen.exit:
        return "it never came to its point"
    if seen.status not in {"sent", "unknown"}:
        return f"it ended as {seen.status}"
    if of.promise is not Promise.BLIND:
        return "" if (seen.status, seen.taken) == ("sent", 1) else f"{seen.status}, and taken {seen.taken} times"
    if of.ambiguity is Ambiguity.AT_LEAST_ONCE:
        twice = 2 if point in UNSEEN and point not in UNTAKEN else 1
        least = 1 if point == "hand-over-after" else twice
        kept = seen.status == "sent" and least <= seen.taken <= twice
        return "" if kept else f"{seen.status}, and taken {seen.taken} times, not {twice}"
    told = "unknown" if point in UNSEEN else "sent"
    least, most = int(point not in {*UNTAKEN, "hand-over-after"}), int(point not in UNTAKEN)
    if told == "sent":
        least = most = 1
    kept = seen.status == told and least <= seen.taken <= most
    return "" if kept else f"{seen.status}, and taken {seen.taken} times, where {told} had to be told"


def broken_by_two(seen: Seen) -> str:
    """The same for a cell whose process died, and then another one that went on with what it had left."""
    of = seen.cell.of
    if of.promise is not Promise.BLIND:
        kept = (seen.status, seen.taken) == ("sent", 1)
    elif of.ambiguity is Ambiguity.AT_LEAST_ONCE:
        kept = seen.status == "sent" and 1 <= seen.taken <= 3
    else:
        kept = (seen.status, seen.taken) in {("sent", 1), ("unknown", 0), ("unknown", 1)}
    return "" if kept else f"{seen.status}, and taken {seen.taken} times"
