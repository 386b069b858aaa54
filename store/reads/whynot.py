"""What `why not` needs of a person: their accounts, runs of a journey, the last events, what was decided, and since when things are so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from journeys.calendar.test_clock import TestClock
from journeys.decision.state import state_from_json
from journeys.tokens.address_hash import AddressHash
from journeys.whynot.person_view import LastDecision, LastDecisionStatus, LastEvent, PastRunView
from store.database import Connection, fetch_all, sql
from store.reads.people import loaded

_RUNS = sql(
    """
    SELECT id, definition, epoch, case_key, state, coalesce(entered_at, started_at) AS entered_at, status, outcome, ended_at, memory FROM runs
    WHERE lane = ANY(CAST(:keys AS text[])) AND journey = :journey
    ORDER BY status = 'open' DESC, started_at DESC, epoch DESC LIMIT 20
    """
)
_OPEN = sql(
    "SELECT definition, lane FROM runs WHERE lane = ANY(CAST(:lanes AS text[])) AND status = 'open' ORDER BY started_at"
)
_ACCOUNTS = sql(
    """
    SELECT m.account_key AS key FROM members m JOIN subjects s ON s.key = m.person_key
    WHERE m.person_key = :person ORDER BY m.account_key = s.account_key DESC NULLS LAST, m.since DESC LIMIT 20
    """
)
_HEARD = sql(
    """
    SELECT DISTINCT ON (name) name, at, data FROM events
    WHERE subject_key = ANY(CAST(:keys AS text[])) AND name = ANY(CAST(:names AS text[])) ORDER BY name, id DESC
    """
)
_DECIDED = sql(
    """
    SELECT m.run, m.action, m.status, m.reasons, m.detail, m.due_at, m.at, m.decided_at, (
      SELECT min(f.at) FROM feed f WHERE f.message = m.id
        AND f.id > (SELECT coalesce(max(b.id), 0) FROM feed b WHERE b.message = m.id AND b.status <> 'deferred')) AS waits_from
    FROM messages m
    WHERE m.recipient = ANY(CAST(:keys AS text[])) AND m.template = :template ORDER BY m.id DESC LIMIT 20
    """
)
_SINCE = sql(
    """
    SELECT 'consent' AS what, channel AS a, topic AS b, at FROM consents WHERE subject_key = :person
    UNION ALL SELECT 'stop', scope, name, at FROM stops WHERE released_at IS NULL
    UNION ALL SELECT 'held', '', '', min(h.since) FROM holds h
      WHERE h.released_at IS NULL AND (h.subject_key IN (:person, :account)
        OR h.subject_key IN (SELECT account_key FROM members WHERE person_key = :person)) HAVING count(*) > 0
    UNION ALL SELECT 'ticket', ticket_id, '', opened_at FROM tickets
      WHERE resolved_at IS NULL AND (subject_key IN (:person, :account)
        OR subject_key IN (SELECT account_key FROM members WHERE person_key = :person))
    UNION ALL SELECT 'talk', run, '', opened_at FROM conversations WHERE recipient = :person AND closed_at IS NULL
    UNION ALL SELECT 'suppressed', digest, '', at FROM suppressions
      WHERE digest = ANY(CAST(:digests AS text[])) AND lifted_at IS NULL
    """
)
_FATES: Final[Mapping[str, LastDecisionStatus]] = {
    "sent": "sent", "sending": "sent", "merged": "sent", "unknown": "sent", "deferred": "queued",
}  # fmt: skip


async def runs_of(connection: Connection, keys: Sequence[str], journey: str) -> list[PastRunView]:
    """Those that are open first, then the newest."""
    found = await fetch_all(connection, _RUNS, keys=list(keys), journey=journey)
    return [
        PastRunView(
            item["id"], item["epoch"], item["state"], item["entered_at"], item["status"] == "open", item["outcome"],
            item["ended_at"], state_from_json(loaded(item["memory"]) or {}) if item["status"] == "open" else None,
            item["case_key"] or "", item["definition"],
        )
        for item in found
    ]  # fmt: skip


async def accounts_of(connection: Connection, person: str) -> list[str]:
    """Which they are in: their own first, then those that they have joined last; at most 20."""
    return [item["key"] for item in await fetch_all(connection, _ACCOUNTS, person=person)]


async def open_definitions(connection: Connection, lanes: Sequence[str]) -> list[tuple[str, str]]:
    """The definition and the lane of each run that is open in these, the newest last."""
    return [(item["definition"], item["lane"]) for item in await fetch_all(connection, _OPEN, lanes=list(lanes))]


async def last_heard(connection: Connection, keys: Sequence[str], names: Sequence[str]) -> dict[str, LastEvent]:
    """By name."""
    found = await fetch_all(connection, _HEARD, keys=list(keys), names=list(names))
    return {item["name"]: LastEvent(item["at"], loaded(item["data"])) for item in found}


async def last_decisions(
    connection: Connection, keys: Sequence[str], template: str, clock: TestClock | None = None
) -> list[LastDecision]:
    """What became of this template, the latest first. `clock` is their test clock."""
    return [
        LastDecision(
            item["run"],
            item["action"],
            _FATES.get(item["status"], "withheld"),
            _why(item),
            item["due_at"],
            _began(item, clock),
        )
        for item in await fetch_all(connection, _DECIDED, keys=list(keys), template=template)
    ]


def _why(item: Mapping[str, Any]) -> str:
    """The gate's reasons, and what came back from an attempt that was made since."""
    said = [reason["text"] for reason in loaded(item["reasons"]) or ()]
    return "; ".join(dict.fromkeys([*said, *([item["detail"]] if item["detail"] else [])]))


def _began(item: Mapping[str, Any], clock: TestClock | None) -> datetime:
    """Since when it waits, whatever for: it is weighed again and again meanwhile. The feed has real instants, which a test
    clock that was held shows too late: never later than the last verdict, nor before it was asked for.
    """
    asked: datetime = item["at"]
    decided: datetime = item["decided_at"]
    real = item["waits_from"]
    if real is None:
        return decided
    return max(asked, min(decided, clock.virtual(real) if clock is not None else real))


async def since_when(
    connection: Connection, person: str, account: str | None, addresses: AddressHash, known: Mapping[str, str]
) -> dict[tuple[str, ...], datetime]:
    """Since when what the gate looks at is so, as `Around.since` has it. `known` are the person's addresses by channel."""
    hashed = addresses.of_all(known)
    found = await fetch_all(connection, _SINCE, person=person, account=account or "", digests=list(hashed))
    since: dict[tuple[str, ...], datetime] = {}
    for item in found:
        name = hashed[item["a"]] if item["what"] == "suppressed" else item["a"]
        since[tuple(part for part in (item["what"], name, item["b"]) if part)] = item["at"]
        if item["what"] == "stop":
            since["stop", item["a"], item["b"]] = item["at"]
    return since
