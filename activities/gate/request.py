"""Gate request of a ledger entry, new or due again."""

from __future__ import annotations

from activities.dependencies import Dependencies
from activities.gate.snapshot import Recipient
from journeys.gate.requests import why_left
from journeys.gate.status import Status
from journeys.gate.verdicts import SendRequest
from store.database import Connection
from store.messages.digests import is_digest
from store.messages.entries import LedgerEntry
from store.people.subjects import account_in


async def request_for_entry(
    deps: Dependencies, connection: Connection, recipient: Recipient, entry: LedgerEntry
) -> SendRequest:
    """The request, by the definition of the run that asked for the message. A digest has no run and no account."""
    chart = await deps.catalogue.chart(connection, entry.definition)
    is_whole, about = is_digest(entry.key), account_in(entry.subject_key)
    account = None if is_whole else about
    return SendRequest(
        channels=entry.via,
        topic=entry.topic,
        priority=entry.priority,
        at=entry.at,
        expires_at=entry.expires_at,
        stands=entry.stands,
        holds=entry.holds,
        holds_why=why_left(entry, entry.now_in),
        missing=chart.missing(entry.action, recipient.person.profile, recipient.account_fields(about)),
        key=entry.key,
        number=entry.number,
        journey=entry.journey,
        action=entry.action,
        template=entry.template,
        account=account,
        ready_at=entry.ready_at,
        topics=tuple(entry.data.get("topics", ())) if is_whole else (),
        alone=_goes_alone(entry),
        run="" if is_whole else entry.run,
        roles=chart.roles_for(entry.state, entry.action) if account is not None else (),
        zone=recipient.zone(account, deps.policy.timezone) if account is not None else None,
        tried_by=(entry.channel or "") if entry.in_doubt else "",
    )


def _goes_alone(entry: LedgerEntry) -> bool:
    """Whether a message is not combined: one that may have arrived would arrive twice, under another key."""
    return entry.in_doubt or entry.status is Status.SENDING or is_digest(entry.key)
