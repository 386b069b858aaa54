"""Run one storm: stack, clients, faults, draining and verdict. The report is one JSON line."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path

from journeys.decision.compiler import artifact_of, load_chart
from journeys.language.parsing import read_journey
from store.database import Database, fetch_one, sql
from store.definitions import publishing
from tests.storm import verdict
from tests.storm.clients import Senders, Sent
from tests.storm.nemesis import Nemesis
from tests.storm.plan import JOURNEY, PINGED, TYPES, Storm, write_catalog
from worker.settings import load_settings
from worker.stack.components import ModuleComponent, http_ok
from worker.stack.free_ports import free_ports
from worker.stack.ports import ANY_PORTS
from worker.stack.supervisor import MODULES, Stack

DEADLOCK = re.compile(rb"deadlock detected")
NAIVE = "tests.storm.naive_worker"
CLOCK_OFFSET = "TENURE_CLOCK_OFFSET_SECONDS"
QUIET_FOR = 4.0
"""Seconds without work left, longer than a lease: any message of a resumed worker would have arrived."""
_PROGRESS = sql(
    """
    SELECT (SELECT count(*) FROM events WHERE name = :name) AS accepted,
           (SELECT count(*) FROM messages) AS decided,
           (SELECT count(*) FROM messages WHERE status IN ('sending', 'deferred')) AS in_flight,
           (SELECT count(*) FROM outbox WHERE delivered_at IS NULL) AS waiting
    """
)


@dataclass(slots=True)
class Report:
    """Results of a storm. `passed` requires a minimum of acknowledged events, so that a dead system cannot pass."""

    seed: int
    worker: str
    events: int
    seconds: float = 0.0
    drained_in: float = 0.0
    whole_run: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    retries: int = 0
    attempted: int = 0
    acknowledged: int = 0
    delivered: int = 0
    lost: int = 0
    duplicated: int = 0
    unexpected: int = 0
    recovered: int = 0
    explained: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    unsettled: int = 0
    sent_not_in_sink: int = 0
    in_sink_not_sent: int = 0
    deadlocks: int = 0
    out_of_order: int = 0
    first_out_of_order: tuple[str, ...] = ()
    left: dict[str, int] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether all counts of faults are zero. `recovered` is none; `explained` is one, since the policy allows all."""
        wrong = self.lost + self.duplicated + self.unexpected + self.explained + self.unsettled + self.deadlocks
        wrong += self.sent_not_in_sink + self.in_sink_not_sent + self.out_of_order + sum(self.left.values())
        return wrong == 0 and self.acknowledged >= 0.9 * self.events

    def line(self) -> str:
        return json.dumps({"kill_storm": asdict(self) | {"passed": self.passed}})


async def run_storm(storm: Storm, home: Path) -> Report:
    """Run one storm with its data in the folder `home`."""
    began = time.monotonic()
    report = Report(storm.seed, storm.worker, storm.events)
    catalog = write_catalog(home / "catalog", storm.journey)
    settings = load_settings(
        home=home, api_port=0, worker_port=0, catalog=catalog, graceful_shutdown_seconds=5, log_format="json"
    )
    modules, environ = {**MODULES, "worker": [storm.worker]}, {CLOCK_OFFSET: str(storm.ahead)}
    async with Stack(
        settings, ports=ANY_PORTS, mail_options=storm.mail_options, modules=modules, environ=environ, say=say_nothing
    ) as stack:
        database = Database(stack.endpoints.database_url, pool=2)
        await publish(database, storm.journey)
        await second_worker(stack, storm)
        senders, nemesis = Senders(storm, stack.endpoints.api_url), Nemesis(storm, stack)
        await senders.enter()
        storm_began = time.monotonic()
        await asyncio.gather(senders.ping(), nemesis.inject_all())
        await stack.wait_ready()
        storm_ended = time.monotonic()
        report.left = await wait_until_quiet(database, storm.drain_seconds)
        report.drained_in = round(time.monotonic() - storm_ended, 1)
        report.seconds = round(time.monotonic() - storm_began, 1)
        report.faults = dict(nemesis.done)
        await _judge(report, senders.sent, database, home / "mail")
        await database.close()
    report.deadlocks = len(DEADLOCK.findall((home / "logs" / "postgres.log").read_bytes()))
    report.whole_run = round(time.monotonic() - began, 1)
    return report


async def _judge(report: Report, sent: Sent, database: Database, maildir: Path) -> None:
    sink, ledger = verdict.read_sink(maildir), await verdict.read_ledger(database)
    queue = verdict.total_queue(sent.attempted, sent.acknowledged, sink.tokens)
    explained = queue.lost & ledger.tokens(*verdict.EXPLAINED)
    report.requests, report.retries = sent.requests, sent.retries
    report.attempted, report.acknowledged = sent.attempted.total(), sent.acknowledged.total()
    report.delivered = sink.tokens.total()
    report.lost = (queue.lost - explained).total()
    report.explained = explained.total()
    report.duplicated = queue.duplicated.total()
    report.unexpected = queue.unexpected.total()
    report.recovered = queue.recovered.total()
    report.statuses = {status: tokens.total() for status, tokens in ledger.by_status.items()}
    report.unsettled = ledger.tokens("sending", "deferred", "unknown").total()
    report.sent_not_in_sink = (ledger.sent - sink.references).total()
    report.out_of_order, report.first_out_of_order = len(ledger.out_of_order), ledger.out_of_order[:5]
    report.in_sink_not_sent = (Counter(set(sink.references)) - ledger.sent).total()


async def wait_until_quiet(database: Database, seconds: float, quiet_for: float = QUIET_FOR) -> dict[str, int]:
    """Wait until every accepted event has been decided and settled for `quiet_for`, or `seconds` have passed.

    Returns counts of what is left.
    """
    deadline, since = time.monotonic() + seconds, None
    while True:
        async with database.reading() as connection:
            counts = await fetch_one(connection, _PROGRESS, name=PINGED)
        assert counts is not None
        left = {"undecided": counts["accepted"] - counts["decided"], "in_flight": counts["in_flight"]}
        left["in_outbox"] = counts["waiting"]
        now = time.monotonic()
        since = (since or now) if not any(left.values()) else None
        if (since and now - since > quiet_for) or now > deadline:
            return left
        await asyncio.sleep(0.25)


async def publish(database: Database, text: str = JOURNEY) -> None:
    """Publish the storm's journey."""
    journey, source = read_journey(text)
    assert journey is not None, source.problems
    artifact = artifact_of(journey, TYPES)
    await publishing.publish_definition(database, load_chart(artifact), artifact, text, "storm")


async def second_worker(stack: Stack, storm: Storm) -> None:
    """Start a second worker on the same queue. It takes over from the first, which may still be alive."""
    (port,) = free_ports(1)
    environ = {**stack.environ, "TENURE_WORKER_PORT": str(port), CLOCK_OFFSET: str(-storm.ahead)}

    async def ready() -> bool:
        return await http_ok(f"http://127.0.0.1:{port}/readyz")

    part = ModuleComponent("worker-b", [storm.worker], home=stack.home, env=environ, ready=ready, stop_timeout=15)
    await stack.start_component("worker-b", part)


def say_nothing(_: str) -> None:
    """Discard a line of the stack's output: the report is enough."""
