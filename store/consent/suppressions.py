"""Addresses that nothing is sent to any more: they bounced, complained or asked to stop. Known by a keyed hash only.

The gate asks for all addresses of a person at once, beside its own statement (`among`) or within it (`IN_FORCE` over
`AddressHash.of_all`). A suppression is not a consent: it is about the address, whoever's it is, and outlives them.

Each address has a lock, which the gate shares under the person's and who suppresses holds alone: once a suppression has
committed nothing enters `sending` for that address, whoever has it by then. Whoever needs people's locks too takes those first,
and whoever suppresses several addresses takes all of theirs at once (`lock`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from journeys.consent.rules import SoftBounces
from journeys.tokens.address_hash import AddressHash
from store.database import Connection, execute, fetch_all, fetch_one, sql

Because = Literal["hard_bounce", "soft_bounces", "complaint", "stop_word", "operator"]

IN_FORCE: Final = (
    "(SELECT json_agg(json_build_array(digest, reason)) FROM suppressions "
    "WHERE digest = ANY(CAST(:digests AS text[])) AND lifted_at IS NULL)"
)
"""For the gate's own statement: null, or (hash, reason) of each address that is suppressed."""

_COLUMNS = "id, channel, reason, source, at, lifted_at, lifted_by"
_SUPPRESS = sql(
    f"""
    INSERT INTO suppressions (digest, channel, reason, source, at)
    SELECT :digest, :channel, :reason, :source, :at
    WHERE NOT EXISTS (SELECT 1 FROM suppressions WHERE digest = ANY(CAST(:digests AS text[])) AND lifted_at IS NULL)
    ON CONFLICT (digest) WHERE lifted_at IS NULL DO NOTHING RETURNING {_COLUMNS}
    """  # noqa: S608 -- the columns are ours
)
_LOCK = sql(
    """
    SELECT pg_advisory_xact_lock(address_lock(digest)) FROM unnest(CAST(:digests AS text[])) AS digest ORDER BY digest
    """
)
_LIFT_ADDRESS = sql(
    """
    UPDATE suppressions SET lifted_at = :at, lifted_by = :by
    WHERE digest = ANY(CAST(:digests AS text[])) AND lifted_at IS NULL
      AND (CAST(:reason AS text) IS NULL OR reason = :reason)
    """
)
_LIFT = sql(
    f"""
    UPDATE suppressions SET lifted_at = coalesce(lifted_at, :at), lifted_by = coalesce(lifted_by, :by)
    WHERE id = :id RETURNING digest, {_COLUMNS}
    """  # noqa: S608 -- the columns are ours
)
_AMONG = sql(
    "SELECT digest, reason FROM suppressions WHERE digest = ANY(CAST(:digests AS text[])) AND lifted_at IS NULL"
)
_HISTORY = sql(
    f"SELECT {_COLUMNS} FROM suppressions WHERE digest = ANY(CAST(:digests AS text[])) ORDER BY id DESC LIMIT 100"  # noqa: S608 -- the columns are ours
)
_LIST = sql(
    f"""
    SELECT {_COLUMNS} FROM suppressions
    WHERE (CAST(:channel AS text) IS NULL OR channel = :channel)
      AND (CAST(:in_force AS boolean) IS NULL OR (lifted_at IS NULL) = :in_force)
      AND (CAST(:before AS bigint) IS NULL OR id < :before)
    ORDER BY id DESC LIMIT :limit
    """  # noqa: S608 -- the columns are ours
)
_NOTE = sql(
    """
    INSERT INTO soft_bounces (digest, reference, at) VALUES (:digest, :reference, :at) ON CONFLICT DO NOTHING
    """
)
_COUNT = sql(
    "SELECT count(*) AS n FROM soft_bounces WHERE digest = ANY(CAST(:digests AS text[])) AND at > :since AND at <= :at"
)
_FORGET = sql("DELETE FROM soft_bounces WHERE digest = ANY(CAST(:digests AS text[])) AND at <= :until")


async def lock_addresses(connection: Connection, addresses: AddressHash, known: Iterable[tuple[str, str]]) -> None:
    """Hold these addresses (by channel) alone until the commit: together and in one order, whoever else needs some of them."""
    digests = {digest for channel, address in known for digest in addresses.digests(channel, address)}
    if digests:
        await fetch_all(connection, _LOCK, digests=list(digests))


async def suppress(
    connection: Connection,
    addresses: AddressHash,
    channel: str,
    address: str,
    *,
    reason: Because,
    source: str,
    at: datetime,
) -> bool:
    """Send nothing to an address by this channel any more; False if that was so already."""
    await lock_addresses(connection, addresses, [(channel, address)])
    found = await fetch_one(
        connection,
        _SUPPRESS,
        digest=addresses.digest(channel, address),
        digests=addresses.digests(channel, address),
        channel=channel,
        reason=reason,
        source=source,
        at=at,
    )
    return found is not None


async def lift(
    connection: Connection,
    addresses: AddressHash,
    channel: str,
    address: str,
    *,
    by: str,
    at: datetime,
    reason: Because | None = None,
) -> bool:
    """Let an address be sent to again, if it is suppressed (for this reason, where one is given). Keeps the history."""
    digests = addresses.digests(channel, address)
    await execute(connection, _FORGET, digests=digests, until=at)
    return await execute(connection, _LIFT_ADDRESS, digests=digests, at=at, by=by, reason=reason) > 0


async def lift_one(connection: Connection, identity: int, *, by: str, at: datetime) -> dict[str, Any] | None:
    """Lift a suppression by its number; lifted twice, the first time counts. None if there is none."""
    found = await fetch_one(connection, _LIFT, id=identity, by=by, at=at)
    if found is None:
        return None
    lifted = dict(found)
    # Begun anew: the soft bounces of before would suppress it again at the next one.
    await execute(connection, _FORGET, digests=[lifted.pop("digest")], until=at)
    return lifted


async def is_suppressed(connection: Connection, addresses: AddressHash, channel: str, address: str) -> bool:
    """Whether nothing may be sent to this address by this channel."""
    return bool(await suppressed_among(connection, addresses, {channel: address}))


async def suppressed_among(connection: Connection, addresses: AddressHash, known: Mapping[str, str]) -> dict[str, str]:
    """Of a person's addresses (by channel), those that are suppressed, with the reason: one statement for all."""
    channels = addresses.of_all(known)
    found = await fetch_all(connection, _AMONG, digests=list(channels)) if channels else ()
    return {channels[item["digest"]]: item["reason"] for item in found}


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
    """A hard bounce suppresses at once, soft ones when enough came within the time; whether this one did.

    `reference` is the provider's id of the bounce: told twice, it counts once.
    """
    if hard:
        return await suppress(connection, addresses, channel, address, reason="hard_bounce", source=source, at=at)
    digests = addresses.digests(channel, address)
    since = at - rules.within.at_most()
    await execute(connection, _FORGET, digests=digests, until=since)
    await execute(connection, _NOTE, digest=digests[0], reference=reference, at=at)
    found = await fetch_one(connection, _COUNT, digests=digests, since=since, at=at)
    if found is None or found["n"] < rules.limit:
        return False
    return await suppress(connection, addresses, channel, address, reason="soft_bounces", source=source, at=at)


async def note_complaint(
    connection: Connection, addresses: AddressHash, channel: str, address: str, *, source: str, at: datetime
) -> bool:
    """Somebody marked our message as unwanted: nothing more is sent there. Whether that is new."""
    return await suppress(connection, addresses, channel, address, reason="complaint", source=source, at=at)


async def suppression_history(
    connection: Connection, addresses: AddressHash, channel: str, address: str
) -> list[dict[str, Any]]:
    """Every suppression of one address, the newest first."""
    return [dict(item) for item in await fetch_all(connection, _HISTORY, digests=addresses.digests(channel, address))]


async def list_suppressions(
    connection: Connection, channel: str | None, in_force: bool | None, before: int | None, limit: int
) -> list[dict[str, Any]]:
    """The newest first; no address is ever shown, for none is kept."""
    found = await fetch_all(connection, _LIST, channel=channel, in_force=in_force, before=before, limit=limit)
    return [dict(item) for item in found]
