"""Double opt-in: a yes that waits for its signed link. Until that is followed and confirmed by POST it is no grant.

The link goes out the ordinary way: asking is an accepted event, `consent_requested`, on which the catalogue's journey
`confirm-consent` sends its transactional mail through the gate, with ledger, retries and a why like any other message.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import orjson

from journeys.events.segment import InboundEvent
from journeys.tokens.signed_links import CONFIRM_WITHIN, Link
from store.database import Connection, Database, as_json, execute, fetch_all, fetch_one, sql
from store.definitions.registry import DefinitionRegistry
from store.people import subjects
from store.retry import retry_transaction

if TYPE_CHECKING:
    from store.consent.consents import ConsentChange, ConsentChangeResult

SOURCE: Final = "consent"
REQUESTED: Final = "consent_requested"
CONFIRMED: Final = "consent_confirmed"
PATIENCE: Final = timedelta(minutes=10)
"""Who asks again within it is sent no second link: a page that can be submitted must not fill somebody's mailbox."""

_OPEN = sql(
    """
    SELECT id, channel, topic, at, asked_at FROM consent_requests
    WHERE subject_key = :key AND confirmed_at IS NULL AND refused_at IS NULL
      AND asked_at > clock_timestamp() - CAST(:lifetime AS interval)
    ORDER BY id
    """
)
_ASK = sql(
    """
    INSERT INTO consent_requests (subject_key, channel, topic, source, wording, proof, at, asked_at)
    VALUES (:key, :channel, :topic, :source, :wording, CAST(:proof AS jsonb), :at, clock_timestamp()) RETURNING id
    """
)
_GIVE_UP = sql(
    """
    UPDATE consent_requests SET refused_at = clock_timestamp()
    WHERE subject_key = :key AND confirmed_at IS NULL AND refused_at IS NULL
      AND (channel = :channel OR CAST(:channel AS text) = '*' OR channel = '*')
      AND (topic = :topic OR CAST(:topic AS text) = '*' OR topic = '*')
    """
)
_REQUEST = sql(
    """
    SELECT id, channel, topic, source, wording, proof, confirmed_at, refused_at FROM consent_requests
    WHERE id = :id AND subject_key = ANY(CAST(:keys AS text[])) FOR UPDATE
    """
)
_CONFIRM = sql("UPDATE consent_requests SET confirmed_at = clock_timestamp() WHERE id = :id")


class NothingToConfirm(Exception):
    """There is nothing to confirm: it was refused since, or never asked."""


async def pending_confirmations(connection: Connection, person: str) -> list[dict[str, Any]]:
    """The places whose yes waits for its link."""
    return [dict(item) for item in await fetch_all(connection, _OPEN, key=person, lifetime=CONFIRM_WITHIN)]


async def request_confirmation(
    connection: Connection, catalogue: DefinitionRegistry, person: str, change: ConsentChange, at: datetime
) -> None:
    """Keep the yes, and have its link sent. The person and their account are locked."""
    now = datetime.now(UTC)
    for item in await pending_confirmations(connection, person):
        if (item["channel"], item["topic"]) == change.place and now - item["asked_at"] < PATIENCE:
            return
    asked = await fetch_one(
        connection,
        _ASK,
        key=person,
        channel=change.channel,
        topic=change.topic,
        source=change.source,
        wording=change.wording,
        proof=as_json(dict(change.proof)),
        at=at,
    )
    request = str(asked["id"]) if asked else ""
    link = Link("confirm", person, change.channel, change.topic, request)
    data = {"request": request, "link": catalogue.consent.links.url(link, now), "wording": change.wording}
    await _tell(connection, catalogue, person, REQUESTED, change.channel, change.topic, request, data)


async def drop_pending(connection: Connection, person: str, channel: str, topic: str) -> None:
    """A no ends every yes that was waiting there."""
    await execute(connection, _GIVE_UP, key=person, channel=channel, topic=topic)


async def confirm_request(
    database: Database, catalogue: DefinitionRegistry, link: Link, proof: Mapping[str, str]
) -> ConsentChangeResult:
    """Make the yes a grant; once more does no harm. Raises NotOpen, where it was refused meanwhile or never asked."""
    return await retry_transaction(database, lambda connection: _confirm(connection, catalogue, link, proof))


async def _confirm(
    connection: Connection, catalogue: DefinitionRegistry, link: Link, proof: Mapping[str, str]
) -> ConsentChangeResult:
    from store.consent import consents  # a cycle: what is confirmed is said like anything else

    person = await subjects.canonical_key(connection, link.person)
    await subjects.lock_subjects(connection, {person, *await _account(connection, person)})
    found = (
        await fetch_one(connection, _REQUEST, id=int(link.ref), keys=[link.person, person])
        if link.ref.isdigit()
        else None
    )
    if found is None or found["refused_at"] or (found["channel"], found["topic"]) != (link.channel, link.topic):
        raise NothingToConfirm
    first = found["confirmed_at"] is None
    if first:
        await execute(connection, _CONFIRM, id=found["id"])
    known = {**orjson.loads(found["proof"]), **{f"confirmed_{name}": value for name, value in proof.items()}}
    change = consents.ConsentChange(
        link.channel, link.topic, True, found["source"], found["wording"], {**known, "request": link.ref}, True
    )
    effect = await consents.change_consents_within(
        connection, catalogue, catalogue.consent.policy, person, [change] if first else []
    )
    if first:
        await _tell(connection, catalogue, person, CONFIRMED, link.channel, link.topic, link.ref, {"request": link.ref})
    return effect


async def _account(connection: Connection, person: str) -> set[str]:
    account = await subjects.account_of(connection, person)
    return {account} if account else set()


async def _tell(
    connection: Connection,
    catalogue: DefinitionRegistry,
    person: str,
    name: str,
    channel: str,
    topic: str,
    request: str,
    data: Mapping[str, Any],
) -> None:
    from store.events import ingest  # a cycle: events may speak of consent, and consent of events

    call = InboundEvent(
        "track",
        f"{name}:{request}",
        name,
        subject_key=person,
        data={**data, "channel": channel, "topic": topic},
    )
    await ingest.accept_within(connection, catalogue, [call], source=SOURCE)
