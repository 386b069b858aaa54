"""Quotas are exact and shared: whoever charges a bucket, in whatever process, counts with all others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial

import pytest
import pytest_asyncio

from api.events.quotas import LEASED_SHARE, QuotaKeeper
from api.http.limits import Limits
from api.http.problems import ProblemError
from journeys.access.callers import ApiKey, CallerKind
from journeys.access.quotas import Charge, Quota
from journeys.tokens.address_hash import AddressHash
from store.access.quotas import charge_quotas, prune_quotas
from store.database import Connection, Database

HOURLY = Quota("requests", 10, timedelta(hours=1))
QUICK = Quota("quick", 10, timedelta(milliseconds=200))


@pytest_asyncio.fixture
async def two(database_url: str) -> AsyncIterator[tuple[Database, Database]]:
    """Two pools, as two processes have them."""
    pools = Database(database_url), Database(database_url)
    yield pools
    for pool in pools:
        await pool.close()


async def charged(database: Database, *charges: Charge) -> dict[str, float]:
    async with database.transaction() as connection:
        return await charge_quotas(connection, charges)


async def test_of_a_hundred_charges_at_once_by_two_processes_exactly_the_limit_is_taken(two) -> None:
    results = await asyncio.gather(*(charged(two[n % 2], HOURLY.charge("k_1")) for n in range(100)))
    assert sum(not full for full in results) == 10
    assert all(350 < full["requests/k_1"] <= 3600 for full in results if full)
    assert await charged(two[0], HOURLY.charge("k_2")) == {}, "another key has a bucket of its own"


async def test_of_several_buckets_all_are_charged_or_none(two) -> None:
    most = [HOURLY.charge("k_1", 9), HOURLY.charge("k_2", 2)]
    assert await charged(two[0], *most) == {}
    assert set(await charged(two[0], *most)) == {"requests/k_1"}
    assert await charged(two[0], HOURLY.charge("k_2", 8)) == {}, "the refused charge took nothing of the other"
    assert set(await charged(two[0], HOURLY.charge("k_1"), HOURLY.charge("k_1"))) == {"requests/k_1"}, (
        "two of one bucket"
    )


async def test_a_bucket_drains_with_time_and_is_deleted_when_it_is_empty(two) -> None:
    assert await charged(two[0], QUICK.charge("k", 10)) == {}
    (wait,) = (await charged(two[0], QUICK.charge("k"))).values()
    assert 0 < wait <= 0.02
    while await charged(two[0], QUICK.charge("k")):
        await asyncio.sleep(wait)
    await charged(two[0], HOURLY.charge("k"))
    async with two[0].transaction() as connection:
        assert await prune_quotas(connection, timedelta(hours=1)) == 0
    async with two[0].transaction() as connection:
        await connection.execute("UPDATE quotas SET empty_at = empty_at - interval '2 hours'")
        assert await prune_quotas(connection, timedelta(hours=1)) == 2
    assert await charged(two[0], QUICK.charge("k", 10)) == {}


async def test_nothing_is_charged_for_nothing_and_a_charge_above_the_limit_never_fits(two) -> None:
    assert await charged(two[0]) == {}
    assert await charged(two[0], Charge("k", 3601, 3600)) != {}
    assert await charged(two[0], HOURLY.charge("k", 11)) != {}
    assert HOURLY.largest("k", 11) == HOURLY.charge("k", 10), "it needs an empty bucket, and does not wait for ever"
    assert await charged(two[0], HOURLY.charge("k", 10)) == {}


class CountedDatabase(Database):
    """A pool that counts how often it is asked."""

    asked = 0

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Connection]:
        self.asked += 1
        async with super().reading() as connection:
            yield connection


async def test_requests_at_once_lease_one_amount(database_url: str) -> None:
    database = CountedDatabase(database_url)
    keeper = QuotaKeeper(database, Limits().quotas, AddressHash(("key of tests",)))
    key = ApiKey("k_leases", "server", CallerKind.SECRET)
    await asyncio.gather(*(keeper.charge_request(key, "203.0.113.9") for _ in range(60)))
    assert database.asked == 1
    async with database.reading() as connection:
        (left,) = await connection.fetch(
            "SELECT extract(epoch FROM empty_at - clock_timestamp()) AS seconds FROM quotas"
        )
    assert left["seconds"] <= 60 * LEASED_SHARE, "seconds in which one leased amount drains"
    await keeper.charge_bytes(key, "203.0.113.9", 0)
    await database.close()


async def test_the_quotas_of_one_request_are_leased_by_one_statement_all_or_none(database_url: str) -> None:
    database = CountedDatabase(database_url)
    quotas = Limits(public_requests=2, network_requests=1, public_bytes=200, network_bytes=100).quotas
    keeper = QuotaKeeper(database, quotas, AddressHash(("key of tests",)))
    key, network = ApiKey("k_public", "website", CallerKind.PUBLIC), "2001:db8:1:1::/64"
    for charge in (keeper.charge_request, partial(keeper.charge_bytes, size=100)):
        database.asked = 0
        await charge(key, network)
        assert database.asked == 1, "of the network, its site and the key"
        with pytest.raises(ProblemError, match="of this network"):
            await charge(key, network)
        await charge(key, "2001:db8:1:2::/64")
        with pytest.raises(ProblemError, match="of this key"):
            await charge(key, "2001:db8:2:1::/64")
    await database.close()
