"""The crash matrix: adapters with their delivery promises, and the points at which a process dies."""

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
"""Before and after: commit of the ledger's row, the last byte, the provider's acceptance, commit of the mark."""
UNTAKEN: Final = frozenset({"row-before", "row-after", "hand-over-before", "acceptance-before"})
"""Points before the provider has accepted anything. After the last byte it may or may not have."""
UNSEEN: Final = frozenset(POINTS[1:-1])
"""Points that leave an attempt of unknown end."""
Kind = Literal["message", "audience", "task"]


@dataclass(frozen=True, slots=True)
class Adapter:
    """One adapter under test. `via` is its channel, `vendor` the local provider's name for what it accepted."""

    name: str
    promise: Promise
    vendor: str
    via: str = ""
    kind: Kind = "message"
    ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE
    data: str = ""
    points: tuple[str, ...] = POINTS


ADAPTERS: Final = {
    adapter.name: adapter
    for adapter in (
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
    """One crash of one adapter at one point. Its requests contain its marker, and no others do."""

    marker: str
    adapter: str
    point: str

    @property
    def target(self) -> Adapter:
        return ADAPTERS[self.adapter]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def cells(points: tuple[str, ...] = POINTS, kinds: tuple[Kind, ...] = ("message", "audience", "task")) -> list[Cell]:
    """The cells of the matrix at these points and of these kinds."""

    def chosen() -> Iterator[tuple[str, str]]:
        for adapter in ADAPTERS.values():
            for point in adapter.points:
                if point in points and adapter.kind in kinds:
                    yield adapter.name, point

    return [Cell(f"cell{number:03}x", adapter, point) for number, (adapter, point) in enumerate(chosen())]


@dataclass(frozen=True, slots=True)
class CellResult:
    """The result of a cell: exit code, how often the provider accepted it, and the ledger's status if it has a row."""

    cell: Cell
    exit: int
    taken: int
    status: str = "sent"


def broken_promise(result: CellResult) -> str:
    """The fault if the adapter's promise was broken; empty if it was kept."""
    target, point = result.cell.target, result.cell.point
    if not result.exit:
        return "the process did not reach its point"
    if result.status not in {"sent", "unknown"}:
        return f"it ended as {result.status}"
    if target.promise is not Promise.BLIND:
        return "" if (result.status, result.taken) == ("sent", 1) else f"{result.status}, accepted {result.taken} times"
    if target.ambiguity is Ambiguity.AT_LEAST_ONCE:
        twice = 2 if point in UNSEEN and point not in UNTAKEN else 1
        least = 1 if point == "hand-over-after" else twice
        kept = result.status == "sent" and least <= result.taken <= twice
        return "" if kept else f"{result.status}, accepted {result.taken} times instead of {twice}"
    expected = "unknown" if point in UNSEEN else "sent"
    least, most = int(point not in {*UNTAKEN, "hand-over-after"}), int(point not in UNTAKEN)
    if expected == "sent":
        least = most = 1
    kept = result.status == expected and least <= result.taken <= most
    return "" if kept else f"{result.status} instead of {expected}, accepted {result.taken} times"


def broken_promise_after_two(result: CellResult) -> str:
    """The same for a cell in which a second process died while it finished the work of the first."""
    target = result.cell.target
    if target.promise is not Promise.BLIND:
        kept = (result.status, result.taken) == ("sent", 1)
    elif target.ambiguity is Ambiguity.AT_LEAST_ONCE:
        kept = result.status == "sent" and 1 <= result.taken <= 3
    else:
        kept = (result.status, result.taken) in {("sent", 1), ("unknown", 0), ("unknown", 1)}
    return "" if kept else f"{result.status}, accepted {result.taken} times"
