"""Suppressions: addresses that nothing is sent to, stored only as a keyed hash.

They bounced, complained or asked to stop. A suppression is not a consent: it concerns the address, whoever has it, and
outlives the person.

Each address has a lock. The gate takes it after the person's lock, and a suppression holds it exclusively: once a
suppression has committed, nothing enters `sending` for that address, whoever has it then. `store/locks.py` has the
order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Text, and_, bindparam, case, exists, func, not_, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from journeys.consent.mailboxes import mailboxes_of
from journeys.consent.rules import ConsentRuleSet, SoftBounces
from journeys.tokens.address_hash import AddressHash
from store.consent import soft_bounces
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.expressions import any_of, before_given, unnest, when_given
from store.schema import suppressions
from store.schema.base import Timestamp

ITS_END: Final = "its end"
"""Who lifted a suppression that had ended."""
SuppressionReason = Literal["hard_bounce", "soft_bounces", "complaint", "stop_word", "operator"]

_digests = unnest("given", digests=suppressions.c.digest)
_in_force = suppressions.c.lifted_at.is_(None)
_at = bindparam("at", type_=Timestamp)
_not_ended = or_(suppressions.c.ends_at.is_(None), suppressions.c.ends_at > func.statement_timestamp())
_theirs = any_of(suppressions.c.digest, "digests")
_columns = (
    suppressions.c.id,
    suppressions.c.channel,
    suppressions.c.reason,
    suppressions.c.source,
    suppressions.c.at,
    suppressions.c.ends_at,
    suppressions.c.lifted_at,
    suppressions.c.lifted_by,
)
_SUPPRESS = sql(
    insert(suppressions)
    .from_select(
        ["digest", "channel", "reason", "source", "at", "ends_at"],
        select(
            *(bindparam(name, type_=Text) for name in ("digest", "channel", "reason", "source")),
            _at,
            bindparam("ends_at", type_=Timestamp),
        ).where(not_(exists().where(_theirs, _in_force))),
    )
    .on_conflict_do_nothing(index_elements=[suppressions.c.digest], index_where=_in_force)
    .returning(suppressions.c.id)
)
# One that ends gives way to one that does not: the address is gone now, or its owner has complained.
_END = sql(
    update(suppressions)
    .where(
        _theirs,
        _in_force,
        suppressions.c.ends_at.is_not(None),
        or_(suppressions.c.ends_at <= _at, bindparam("ends_at", type_=Timestamp).is_(None)),
    )
    .values(
        lifted_at=func.least(suppressions.c.ends_at, func.greatest(suppressions.c.at, _at)),
        lifted_by=case((suppressions.c.ends_at <= _at, ITS_END), else_=bindparam("source", type_=Text)),
    )
)
_LOCK = sql(select(func.pg_advisory_xact_lock(func.address_lock(_digests.c.digest))).order_by(_digests.c.digest))
_LIFT_ADDRESS = sql(
    update(suppressions)
    .where(_theirs, _in_force, when_given("reason", suppressions.c.reason))
    .values(lifted_at=bindparam("at"), lifted_by=bindparam("by"))
)
_LIFT = sql(
    update(suppressions)
    .where(suppressions.c.id == bindparam("id"))
    .values(
        lifted_at=func.coalesce(suppressions.c.lifted_at, bindparam("at", type_=Timestamp)),
        lifted_by=func.coalesce(suppressions.c.lifted_by, bindparam("by", type_=Text)),
    )
    .returning(suppressions.c.digest, *_columns)
)
_AMONG = sql(select(suppressions.c.digest, suppressions.c.reason).where(_theirs, _in_force, _not_ended))
_HISTORY = sql(select(*_columns).where(_theirs).order_by(suppressions.c.id.desc()).limit(100))
_LIST = sql(
    select(*_columns)
    .where(
        when_given("channel", suppressions.c.channel),
        when_given("in_force", and_(_in_force, _not_ended)),
        before_given(suppressions.c.id),
    )
    .order_by(suppressions.c.id.desc())
    .limit(bindparam("limit"))
)


async def lock_addresses(connection: Connection, addresses: AddressHash, by_channel: Iterable[tuple[str, str]]) -> None:
    """Lock addresses, by channel, exclusively until the commit: all at once and in one order."""
    digests = {digest for channel, address in by_channel for digest in addresses.digests(channel, address)}
    if digests:
        await fetch_all(connection, _LOCK, digests=list(digests))


async def lock_mailboxes(
    connection: Connection,
    book: ConsentRuleSet,
    profiles: Iterable[Mapping[str, Any]],
    others: Iterable[tuple[str, str]] = (),
) -> None:
    """Lock the mailboxes of people, and `others` (channel and address), as `lock_addresses` does: all at once."""
    mailboxes = [mailboxes_of(book.policy, profile) for profile in profiles]
    theirs = [mailbox for of_one in mailboxes for mailbox in of_one.items()]
    await lock_addresses(connection, book.addresses, [*theirs, *others])


async def suppress(
    connection: Connection,
    addresses: AddressHash,
    channel: str,
    address: str,
    *,
    reason: SuppressionReason,
    source: str,
    at: datetime,
    ends_at: datetime | None = None,
) -> bool:
    """Suppress an address on this channel, until it is lifted or `ends_at`; False if it was suppressed already."""
    await lock_addresses(connection, addresses, [(channel, address)])
    digests = addresses.digests(channel, address)
    await execute(connection, _END, digests=digests, at=at, ends_at=ends_at, source=source)
    row = await fetch_one(
        connection,
        _SUPPRESS,
        digest=addresses.digest(channel, address),
        digests=digests,
        channel=channel,
        reason=reason,
        source=source,
        at=at,
        ends_at=ends_at,
    )
    return row is not None


async def lift(
    connection: Connection,
    addresses: AddressHash,
    channel: str,
    address: str,
    *,
    by: str,
    at: datetime,
    reason: SuppressionReason | None = None,
) -> bool:
    """Lift the suppression of an address (for this reason, if one is given); False if there was none.

    The history stays. Soft bounces until `at` do not count any more.
    """
    digests = addresses.digests(channel, address)
    await soft_bounces.forget(connection, digests, until=at)
    return await execute(connection, _LIFT_ADDRESS, digests=digests, at=at, by=by, reason=reason) > 0


async def lift_one(connection: Connection, identity: int, *, by: str, at: datetime) -> dict[str, Any] | None:
    """Lift a suppression by its number; the first time counts. None if there is none."""
    row = await fetch_one(connection, _LIFT, id=identity, by=by, at=at)
    if row is None:
        return None
    lifted = dict(row)
    # The earlier soft bounces would suppress it again at the next one.
    await soft_bounces.forget(connection, [lifted.pop("digest")], until=at)
    return lifted


async def is_suppressed(connection: Connection, addresses: AddressHash, channel: str, address: str) -> bool:
    """Whether nothing may be sent to this address by this channel."""
    return bool(await suppressed_among(connection, addresses, {channel: address}))


async def suppressed_among(connection: Connection, addresses: AddressHash, known: Mapping[str, str]) -> dict[str, str]:
    """The suppressed ones among a person's addresses (by channel), with the reason; in one statement."""
    channels = addresses.of_all(known)
    rows = await fetch_all(connection, _AMONG, digests=list(channels)) if channels else ()
    return {channels[row["digest"]]: row["reason"] for row in rows}


async def note_bounce(
    connection: Connection,
    addresses: AddressHash,
    channel: str,
    address: str,
    *,
    hard: bool,
    rules: SoftBounces,
    source: str,
    reference: str,
    at: datetime,
) -> bool:
    """Suppress an address after a hard bounce, or for a time after enough soft ones within the rule's time; whether this one did.

    `reference` is the provider's id of the bounce: a repeated report counts once.
    """
    if hard:
        return await suppress(connection, addresses, channel, address, reason="hard_bounce", source=source, at=at)
    if not await soft_bounces.count(connection, addresses.digests(channel, address), rules, reference, at):
        return False
    return await suppress(
        connection,
        addresses,
        channel,
        address,
        reason="soft_bounces",
        source=source,
        at=at,
        ends_at=at + rules.rest.at_most(),
    )


async def note_complaint(
    connection: Connection, addresses: AddressHash, channel: str, address: str, *, source: str, at: datetime
) -> bool:
    """Suppress an address whose recipient reported a message as spam; whether that is new."""
    return await suppress(connection, addresses, channel, address, reason="complaint", source=source, at=at)


async def suppression_history(
    connection: Connection, addresses: AddressHash, channel: str, address: str
) -> list[dict[str, Any]]:
    """Every suppression of one address, newest first."""
    return [dict(row) for row in await fetch_all(connection, _HISTORY, digests=addresses.digests(channel, address))]


async def list_suppressions(
    connection: Connection, channel: str | None, in_force: bool | None, before: int | None, limit: int
) -> list[dict[str, Any]]:
    """Suppressions, newest first. No address is shown, because none is stored."""
    rows = await fetch_all(connection, _LIST, channel=channel, in_force=in_force, before=before, limit=limit)
    return [dict(row) for row in rows]
