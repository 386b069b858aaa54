"""The push of the feed over a socket: signed batches, one pusher at a time, repeats and no gaps after a crash."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from activities.channels.http.reply_tables import MAX_PAUSE
from activities.exports.feed_push import FeedPush, Receiver
from activities.outgoing.client import HttpClient
from activities.outgoing.standard_webhooks import STEPS, signing
from store.database import Database, execute, fetch_all, sql
from store.exports import feed_push
from store.exports.feed import Horizon
from tests.support.databases import Databases
from tests.support.forked import ForkedProcess
from tests.support.live_stack import until, wait_until_certain
from worker.composition.feed import feed_loop
from worker.loops.feed_push import LAG, TRIES, FeedLoop
from worker.provider_settings import load_providers
from worker.settings import SettingsError
from worker.stack.components import python_module

SECRET, NEXT = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
_INSERT = sql(
    """
    INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, priority,
      at, status, decided_at)
    SELECT 'm' || n, 'r', 1, 'u', 'u', 'j', 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'withheld', clock_timestamp()
    FROM generate_series(CAST(:first AS int), CAST(:last AS int)) AS n
    """
)

Answer = Callable[[], Awaitable[bytes]]


@dataclass
class Warehouse:
    """A receiver behind a socket: it verifies and stores each batch, and answers as the test decides."""

    url: str = ""
    taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answer: Answer | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in head.split("\r\n")[1:] if line)}
            body = await reader.readexactly(int(headers["content-length"]))
            Webhook(SECRET).verify(body.decode(), headers)
            self.taken.append((headers["webhook-id"], json.loads(body)))
            writer.write(await self.answer() if self.answer else _reply("200 OK"))
            await writer.drain()
        writer.close()

    @property
    def lines(self) -> list[int]:
        return [line["id"] for _, batch in self.taken for line in batch["data"]["items"]]


def _reply(status: str, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n{headers}\r\n".encode()


@pytest_asyncio.fixture(scope="session")
async def databases(databases_of_own_server: Databases) -> Databases:
    """A server of its own: the feed waits for the oldest transaction of all of PostgreSQL, also another test's."""
    return databases_of_own_server


@pytest_asyncio.fixture
async def warehouse() -> AsyncIterator[Warehouse]:
    made = Warehouse()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/feed"
    async with server:
        yield made


def pusher(database: Database, warehouse: Warehouse) -> FeedPush:
    allowed = frozenset({warehouse.url.split("/")[2]})
    return FeedPush(database, HttpClient(allowed), Receiver(warehouse.url, signing(SECRET)))


async def write(database: Database, first: int, last: int) -> None:
    async with database.transaction() as connection:
        await execute(connection, _INSERT, first=first, last=last)
    await wait_until_certain(database)


async def numbers(database: Database) -> list[int]:
    async with database.reading() as connection:
        return [item["id"] for item in await fetch_all(connection, sql("SELECT id FROM feed ORDER BY id"))]


async def push_position(database: Database) -> feed_push.PushPosition:
    async with database.reading() as connection:
        return await feed_push.read_position(connection)


async def push_everything(push: FeedPush) -> None:
    while await push.round():
        pass


async def test_every_line_arrives_once_in_order_in_contiguous_signed_batches(database, warehouse):
    await write(database, 1, 450)
    push = pusher(database, warehouse)
    await push_everything(push)
    await write(database, 451, 460)
    await push_everything(push)
    assert warehouse.lines == await numbers(database)
    assert [len(batch["data"]["items"]) for _, batch in warehouse.taken] == [200, 200, 50, 10]
    ends = [(batch["data"]["after"], batch["data"]["next"]) for _, batch in warehouse.taken]
    assert [after for after, _ in ends] == [0, *(following for _, following in ends[:-1])]
    assert len({identity for identity, _ in warehouse.taken}) == 4
    assert {batch["type"] for _, batch in warehouse.taken} == {"tenure.feed"}
    await push.close()


async def test_a_pusher_killed_after_the_receiver_took_a_batch_only_repeats_that_batch(database, warehouse):
    await write(database, 1, 5)
    dying = asyncio.create_task(pusher(database, warehouse).round())

    async def kill() -> bytes:
        dying.cancel()
        await asyncio.sleep(0)
        return _reply("200 OK")

    warehouse.answer = kill
    with pytest.raises(asyncio.CancelledError):
        await dying
    warehouse.answer = None
    await write(database, 6, 9)
    await push_everything(pusher(database, warehouse))
    first, again, rest = warehouse.taken
    assert first == again, "the same lines under the same id, by which a receiver detects the repetition"
    assert [line["id"] for line in again[1]["data"]["items"] + rest[1]["data"]["items"]] == await numbers(database)


@pytest.mark.slow
async def test_workers_killed_during_a_push_lose_nothing_and_only_repeat_batches(
    database, warehouse, temporal_address, task_queue, tmp_path
):
    await write(database, 1, 1_500)
    environ = {
        "TENURE_DATABASE_URL": database.url,
        "TENURE_TEMPORAL_ADDRESS": temporal_address,
        "TENURE_TASK_QUEUE": task_queue,
        "TENURE_SMTP_URL": "smtp://127.0.0.1:9",
        "TENURE_FEED_URL": warehouse.url,
        "TENURE_FEED_SECRET": SECRET,
        "TENURE_OUTGOING_ALLOW": warehouse.url.split("/")[2],
    }
    for kills in range(3):
        started = len(warehouse.taken)
        worker = ForkedProcess(python_module(["worker"], tmp_path / "worker.log", environ))

        async def kill(worker: Any = worker, kills: int = kills, started: int = started) -> bytes:
            if len(warehouse.taken) - started > kills:
                worker.kill()
                await worker.wait()
            return _reply("200 OK")

        warehouse.answer = kill
        await asyncio.wait_for(worker.wait(), 30)
    warehouse.answer = None
    expected, push = await numbers(database), pusher(database, warehouse)

    async def pushed() -> bool:  # the killed process keeps the lock until PostgreSQL notices its end
        await push_everything(push)
        return len(set(warehouse.lines)) == len(expected)

    await until(pushed)
    assert list(dict.fromkeys(warehouse.lines)) == expected, "the first copies are in order"
    again = [identity for identity, times in Counter(identity for identity, _ in warehouse.taken).items() if times > 1]
    assert len(again) == 3
    assert all(
        batch == next(other for i, other in warehouse.taken if i == identity) for identity, batch in warehouse.taken
    )


async def test_a_connection_lost_before_the_commit_repeats_the_batch(database, warehouse):
    await write(database, 1, 3)

    async def cut() -> bytes:
        async with database.reading() as connection:
            await connection.fetch(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
                "AND state = 'idle in transaction' AND pid <> pg_backend_pid()"
            )
        return _reply("200 OK")

    warehouse.answer = cut
    with pytest.raises(Exception, match=r"terminat|closed|connection"):
        await push_everything(pusher(database, warehouse))
    assert (await push_position(database)).position == 0
    warehouse.answer = None
    await push_everything(pusher(database, warehouse))
    assert warehouse.taken[0] == warehouse.taken[1]
    assert (await push_position(database)).position == (await numbers(database))[-1]


async def test_only_one_pusher_pushes_at_a_time(database, warehouse):
    await write(database, 1, 3)
    requested, release = asyncio.Event(), asyncio.Event()

    async def hold() -> bytes:
        requested.set()
        await release.wait()
        return _reply("200 OK")

    warehouse.answer = hold
    first_pusher, second_pusher = pusher(database, warehouse), pusher(database, warehouse)
    first = asyncio.create_task(first_pusher.round())
    await requested.wait()
    assert await second_pusher.round() is False
    release.set()
    assert await first is True
    assert len(warehouse.taken) == 1


async def test_a_push_in_flight_does_not_delay_the_feed(database, warehouse):
    await write(database, 1, 1)
    requested, release = asyncio.Event(), asyncio.Event()

    async def hold() -> bytes:
        requested.set()
        await release.wait()
        return _reply("200 OK")

    warehouse.answer = hold
    pushing = asyncio.create_task(pusher(database, warehouse).round())
    await requested.wait()
    await write(database, 2, 2)
    assert await Horizon().look(database) == (await numbers(database))[-1]
    release.set()
    await pushing


async def test_a_receiver_that_is_down_is_retried_on_the_standard_schedule_without_end(database, warehouse):
    await write(database, 1, 2)

    async def down() -> bytes:
        return _reply("503 Service Unavailable")

    warehouse.answer = down
    push = pusher(database, warehouse)
    for n in range(len(STEPS) + 2):
        assert await push.round() is False
        at = await push_position(database)
        assert at.attempts == n + 1
        async with database.reading() as connection:
            left = (await fetch_all(connection, sql("SELECT due_at - clock_timestamp() AS left FROM feed_push")))[0][
                "left"
            ]
        step = STEPS[min(n, len(STEPS) - 1)]
        assert step.total_seconds() - 5 < left.total_seconds() <= step.total_seconds()
        assert await push.round() is False, "not before the retry is due"
        assert len(warehouse.taken) == n + 1
        async with database.transaction() as connection:
            assert await feed_push.restart_push(connection)
    assert len({identity for identity, _ in warehouse.taken}) == 1
    warehouse.answer = None
    assert await push.round() is True
    assert await push_position(database) == feed_push.PushPosition(
        (await numbers(database))[-1], None, 0, None, None, (await push_position(database)).pushed_at
    )


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        ("429 Too Many Requests", "retry-after: 120\r\n", 120),
        ("410 Gone", "", STEPS[-1].total_seconds()),
        ("302 Found", "location: http://169.254.169.254/\r\n", STEPS[0].total_seconds()),
        ("429 Too Many Requests", "retry-after: 999999999\r\n", MAX_PAUSE.total_seconds()),
    ],
)
async def test_the_receivers_answer_decides_when_the_push_is_retried(database, warehouse, status, headers, seconds):
    await write(database, 1, 1)

    async def answer_with() -> bytes:
        return _reply(status, headers)

    warehouse.answer = answer_with
    assert await pusher(database, warehouse).round() is False
    async with database.reading() as connection:
        left = (await fetch_all(connection, sql("SELECT due_at - clock_timestamp() AS left FROM feed_push")))[0]["left"]
    assert seconds - 5 < left.total_seconds() <= seconds


async def test_the_push_loop_measures_its_lag_and_stops_on_request(database, warehouse):
    await write(database, 1, 3)

    async def down() -> bytes:
        return _reply("500 Internal Server Error")

    warehouse.answer = down
    stop = asyncio.Event()
    loop = asyncio.create_task(FeedLoop(database, pusher(database, warehouse)).run(stop, pause=0.05))

    async def tried() -> float:
        return float(TRIES._value.get())

    await until(tried, lambda n: n == 1)
    assert LAG._value.get() > 0
    warehouse.answer = None
    async with database.transaction() as connection:
        await feed_push.restart_push(connection)

    async def behind() -> float:
        return float(LAG._value.get())

    await until(behind, lambda seconds: seconds == 0)
    assert warehouse.lines[-3:] == await numbers(database)
    stop.set()
    await loop


def test_a_receiver_with_an_internal_address_is_refused_at_the_start(database):
    with pytest.raises(SettingsError, match="TENURE_FEED_URL is not allowed"):
        feed_loop(database, load_providers(feed_url="https://169.254.169.254/feed", feed_secret=SECRET))


def test_a_push_needs_a_valid_standard_webhooks_secret(database):
    with pytest.raises(SettingsError, match="without TENURE_FEED_SECRET"):
        feed_loop(database, load_providers(feed_url="https://warehouse.example.com/feed"))
    with pytest.raises(SettingsError, match="TENURE_FEED_SECRET is not a Standard Webhooks secret"):
        feed_loop(database, load_providers(feed_url="https://warehouse.example.com/feed", feed_secret="whsec_short"))


def test_both_secrets_verify_during_a_rotation_and_no_other_does():
    body = b'{"type":"tenure.feed"}'
    headers = signing(SECRET, NEXT)("feed_0_1", body)
    assert Webhook(SECRET).verify(body.decode(), headers) == json.loads(body)
    assert Webhook(NEXT).verify(body.decode(), headers) == json.loads(body)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_YW5vdGhlci1zZWNyZXQtb2YtdGhlLXNlbmRlcg==").verify(body.decode(), headers)
