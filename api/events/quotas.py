"""Quotas of ingestion, charged in PostgreSQL and leased to this process.

Requests, bytes and events are leased in amounts that this process uses up without asking again: at most a fiftieth of a
quota lies unused in each process. A full bucket is remembered for a moment, so that a refusal costs next to nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from weakref import WeakValueDictionary

import structlog

from api.http.networks import site_of
from api.http.problems import ProblemError
from journeys.access.callers import ApiKey, CallerKind
from journeys.access.claims import Claims, PersonIdentity
from journeys.access.quotas import Charge, IngestQuotas, Quota
from journeys.tokens.address_hash import AddressHash
from store.access.quotas import charge_quotas, prune_quotas
from store.availability import log_outage
from store.database import Database

log = structlog.get_logger()

LEASED_SHARE: Final = 0.02
"""Part of a quota that one lease takes."""
REMEMBERED_SECONDS: Final = 1.0
MOST_REMEMBERED: Final = 10_000
PRUNE_SECONDS: Final = 60.0
SITE_NETWORKS: Final = 8
"""A site of IPv6 networks may use as much as so many of its networks."""
DRAINED_FOR: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class _Lease:
    """An amount of a quota for this process, and its charge."""

    charge: Charge
    amount: float


class QuotaKeeper:
    """Charges the quotas of requests that send events. Raises ProblemError (429) when one is used up."""

    def __init__(
        self,
        database: Database,
        quotas: IngestQuotas,
        addresses: AddressHash,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database, self._quotas, self._addresses, self._now = database, quotas, addresses, now
        self._leased: dict[str, float] = {}
        self._full_until: dict[str, float] = {}
        self._leasing = WeakValueDictionary[str, asyncio.Lock]()
        self._networks: dict[str, tuple[str, str | None]] = {}

    def refuse_used_up(self, key: ApiKey, network: str, size: int) -> None:
        """Refuse a request with `size` bytes if this process knows a quota to be used up: nothing is asked or waits."""
        wanted = [(1, self._of_request(key, network)), (max(size, 1), self._of_body(key, network))]
        for number, quotas in wanted:
            for quota, of in quotas:
                charge = _lease_of(quota, of, number).charge
                if self._leased.get(charge.name, 0.0) < number:
                    self._check_known(charge)

    async def charge_request(self, key: ApiKey, network: str) -> None:
        """One request, once its body has arrived."""
        await self._take(self._of_request(key, network), 1)

    def _of_request(self, key: ApiKey, network: str) -> tuple[tuple[Quota, str], ...]:
        match key.kind:
            case CallerKind.PUBLIC:
                return (
                    *self._of_network(self._quotas.network_requests, network),
                    (self._quotas.public_requests, key.id),
                )
            case CallerKind.SECRET:
                return ((self._quotas.secret_requests, key.id),)
            case _:
                return ()

    def _of_network(self, quota: Quota, network: str) -> Iterator[tuple[Quota, str]]:
        """A quota of a network, and that of its site."""
        hashed = self._networks.get(network)
        if hashed is None:
            site = site_of(network)
            hashed = self._hash(network), self._hash(site) if site is not None else None
            self._networks[network] = hashed
        yield quota, hashed[0]
        if hashed[1] is not None:
            yield quota.times(SITE_NETWORKS), hashed[1]

    async def charge_bytes(self, key: ApiKey, network: str, size: int) -> None:
        """The body of a request, decompressed: of its minute and of its day."""
        await self._take(self._of_body(key, network), size)

    def _of_body(self, key: ApiKey, network: str) -> tuple[tuple[Quota, str], ...]:
        quotas = self._quotas
        match key.kind:
            case CallerKind.PUBLIC:
                of_network = self._of_network(quotas.network_bytes, network)
                return (*of_network, (quotas.public_bytes, key.id), (quotas.public_day_bytes, key.id))
            case CallerKind.SECRET:
                return ((quotas.secret_bytes, key.id), (quotas.secret_day_bytes, key.id))
            case CallerKind.OPERATOR:
                return ((quotas.operator_day_bytes, key.id),)
            case _:
                return ()

    async def charge_provider(self, provider: str, size: int) -> None:
        """The body of a provider's call, once it is verified: strangers never use up a provider's quota."""
        await self._take(((self._quotas.provider_day_bytes, provider),), size)

    async def charge_events(self, key: ApiKey, network: str, number: int) -> None:
        """The events of a public key's request, whatever becomes of them."""
        of_network = self._of_network(self._quotas.network_events, network)
        await self._take((*of_network, (self._quotas.public_events, key.id)), number)

    async def charge_claims(self, key: ApiKey, network: str, claims: Claims) -> None:
        """What a request of a public key claims. All or nothing is charged."""
        charges = [
            self._quotas.person_events.largest(_person(key, identity), number)
            for identity, number in claims.events.items()
        ]
        charges += self._of_key_and_network(key, network, claims)
        digests = [self._addresses.digest(channel, address) for channel, address in claims.addresses]
        charges += [self._quotas.address_claims.charge(digest) for digest in digests]
        async with self._database.reading() as connection:  # the function is one statement, and so a transaction
            full = await charge_quotas(connection, charges)
        if full:
            name = max(full, key=lambda bucket: full[bucket])
            raise _used_up(name, full[name])

    def _of_key_and_network(self, key: ApiKey, network: str, claims: Claims) -> Iterator[Charge]:
        quotas = self._quotas
        of_networks = (
            (quotas.network_people, len(claims.new)),
            (quotas.network_addresses, len(claims.addresses)),
            (quotas.network_held, claims.held),
        )
        of_keys = ((quotas.public_people, len(claims.new)), (quotas.public_held, claims.held))
        for quota, number in of_networks:
            if number:
                yield from (wide.charge(of, number) for wide, of in self._of_network(quota, network))
        yield from (quota.charge(key.id, number) for quota, number in of_keys if number)

    async def prune(self) -> None:
        """Delete drained buckets, for as long as this process runs."""
        while True:
            await asyncio.sleep(PRUNE_SECONDS)
            try:
                async with self._database.transaction() as connection:
                    await prune_quotas(connection, DRAINED_FOR)
            except Exception as error:  # noqa: BLE001 -- during an outage the requests themselves fail
                log_outage("quotas.prune_failed", error)

    async def _take(self, wanted: Sequence[tuple[Quota, str]], number: float) -> None:
        """Take `number` of each quota from what this process has leased; what is missing is leased first, all or none.

        So one network does not use up a key. Raises ProblemError until all fit.
        """
        leases = [_lease_of(quota, of, number) for quota, of in wanted]
        while missing := self._missing(leases, number):
            async with contextlib.AsyncExitStack() as stack:
                # Requests at the same time wait for one lease: one for each would use up a quota that nobody has used.
                for name in sorted(lease.charge.name for lease in missing):
                    await stack.enter_async_context(self._leasing.setdefault(name, asyncio.Lock()))
                if missing := self._missing(missing, number):
                    await self._lease(missing)
        for lease in leases:
            self._leased[lease.charge.name] = self._leased.get(lease.charge.name, 0.0) - number
        for remembered in (self._leased, self._full_until, self._networks):
            if len(remembered) > MOST_REMEMBERED:
                remembered.clear()

    def _missing(self, leases: Sequence[_Lease], number: float) -> list[_Lease]:
        """The leases without which `number` cannot be taken."""
        return [lease for lease in leases if self._leased.get(lease.charge.name, 0.0) < number]

    async def _lease(self, leases: Sequence[_Lease]) -> None:
        """Charge leases by one statement, all or none. Raises ProblemError while a bucket is full; it is remembered."""
        for lease in leases:
            self._check_known(lease.charge)
        now = self._now()
        async with self._database.reading() as connection:  # the function is one statement, and so a transaction
            full = await charge_quotas(connection, [lease.charge for lease in leases])
        for name, wait in full.items():
            self._full_until[name] = now + min(wait, REMEMBERED_SECONDS)
        if full:
            name = next(lease.charge.name for lease in leases if lease.charge.name in full)
            raise _used_up(name, full[name])
        for lease in leases:
            self._leased[lease.charge.name] = self._leased.get(lease.charge.name, 0.0) + lease.amount

    def _check_known(self, charge: Charge) -> None:
        """Raise ProblemError while the bucket is known to be full."""
        now = self._now()
        until = self._full_until.get(charge.name, now)
        if until > now:
            raise _used_up(charge.name, until - now)

    def _hash(self, network: str) -> str:
        """The network as a keyed hash: no network address is stored."""
        return self._addresses.digest("ip", network)


def _lease_of(quota: Quota, of: str, number: float) -> _Lease:
    """A lease of a quota from which at least `number` can be taken."""
    amount = max(number, quota.limit * LEASED_SHARE)
    return _Lease(quota.largest(of, amount), amount)


def _person(key: ApiKey, identity: PersonIdentity) -> str:
    return f"{key.id}/{hashlib.sha256('/'.join(identity).encode(errors='surrogatepass')).hexdigest()[:32]}"


def _used_up(name: str, wait: float) -> ProblemError:
    what = name.partition("/")[0]
    seconds = max(1, math.ceil(wait))
    return ProblemError(
        "quota-exceeded",
        f"The quota is used up: {what}. Nothing was stored. Send it again in {seconds} s.",
        headers={"Retry-After": str(seconds)},
    )
