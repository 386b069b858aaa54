"""The API for tests: over a real database, in this process or behind a socket, with fake run commands."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from activities.content.templates import load_templates, template_infos
from activities.content.tracked_links import ClickLinks
from activities.gate.dry_run import dry_run
from activities.preview import ContentPreview
from api.app import build_app
from api.content.endpoints import TemplateDesk
from api.exports.feed import FeedSigner
from api.http.asgi import AsgiApp
from api.http.auth import BootstrapKeys
from api.http.limits import Limits
from api.http.problems import ProblemError
from api.inbound.signatures import WebhookSecrets
from api.parts import Parts
from api.runs.temporal import RunCommands
from journeys.events.tracking_plan import TrackingPlan
from journeys.tasks.assignment import Roster
from store.database import Database
from store.timeouts import limit_statement_time
from tests.support.canaries import KEYS_OF_TESTS, keep_metrics
from tests.support.route_fields import fields_built_once
from worker.catalogue.check import check_catalogue
from worker.composition.catalog import consent_rules, policy, roster, tracking_plan
from worker.composition.clients import payload_codec
from worker.composition.dependencies import dependencies
from worker.settings import ROOT, Settings

WRITE, OPERATE = KEYS_OF_TESTS["write key"], KEYS_OF_TESTS["operator key"]
UI = "https://temporal.example.com"
"""The origin of Temporal's UI."""
CATALOG = ROOT / "catalog"
CLICKS = ClickLinks(("key-of-the-clicks-of-tests",), "https://l.example")


@dataclass
class FakeRunCommands:
    """Run commands without Temporal: it has the states that a test gives it and records the commands."""

    states: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    commands: list[tuple[str, str, Mapping[str, Any]]] = field(default_factory=list)
    up: bool = True
    decided: bool = True

    async def state(self, run: str) -> Mapping[str, Any]:
        if not self.up:
            raise ProblemError("engine-unavailable", "Temporal is away.")
        if run not in self.states:
            raise ProblemError("conflict", "Temporal has no open run of this id.")
        return self.states[run]

    async def explain(self, run: str) -> list[str]:
        return [f"{name}: {value}" for name, value in (await self.state(run)).items()]

    async def command(self, run: str, update: str, wish: Mapping[str, Any]) -> None:
        await self.state(run)
        self.commands.append((run, update, wish))

    async def abandon(self, run: str) -> None:
        self.commands.append((run, "terminate", {}))

    async def answers(self) -> bool:
        return self.up

    async def decides(self) -> bool:
        return self.up and self.decided


def application(
    database_url: str,
    *,
    engine: RunCommands | None = None,
    limits: Limits | None = None,
    tracking: TrackingPlan | None = None,
    catalog: Path = CATALOG,
    desk: TemplateDesk | None = None,
    people: Roster | None = None,
    sign: FeedSigner | None = None,
    secrets: WebhookSecrets | None = None,
    in_production: bool = False,
    browser_origins: Sequence[str] = ("*",),
    public_url: str | None = None,
    links: Sequence[tuple[str, str]] = (),
) -> AsgiApp:
    """The whole application with the shipped catalogue."""
    limits = limits or Limits(wrong_key_seconds=0)
    database = Database(database_url, pool=limits.pool)
    limit_statement_time(database, limits.patience_seconds)
    parts = Parts(
        database=database,
        engine=engine or FakeRunCommands(),
        codec=payload_codec(Settings()),
        codec_origins=(UI,),
        browser_origins=browser_origins,
        public_url=public_url,
        keys=BootstrapKeys(write=WRITE, operator=OPERATE),
        plan=tracking or tracking_plan(catalog),
        policy=policy(catalog),
        consent=consent_rules(Settings(catalog=catalog)),
        templates=lambda: template_infos(catalog / "templates"),
        check_catalogue=check_catalogue,
        desk=desk or ContentPreview(templates=lambda: load_templates(catalog / "templates"), links=CLICKS),
        dry_run=partial(dry_run, dependencies(Settings(catalog=catalog, smtp_url="smtp://127.0.0.1:9"), database)),
        limits=limits,
        roster=people or roster(catalog),
        sign_feed=sign,
        webhook_secrets=secrets or WebhookSecrets(),
        in_production=in_production,
        links=links,
    )
    with fields_built_once():
        return build_app(parts)


@contextlib.asynccontextmanager
async def client(app: AsgiApp, key: str = OPERATE) -> AsyncIterator[httpx.AsyncClient]:
    """A client in the same loop, without sockets; the application runs as long as the client."""
    transport = httpx.ASGITransport(app)  # an unhandled exception fails the test
    made = httpx.AsyncClient(transport=transport, base_url="http://api", auth=(key, ""))
    async with app.app.router.lifespan_context(app.app), made:
        yield made
        keep_metrics((await made.get("/metrics", auth=(OPERATE, ""))).content)


@contextlib.contextmanager
def served(app: AsgiApp) -> Iterator[str]:
    """The application behind a real socket, in a thread of its own; its URL."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, http="httptools", loop="uvloop", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the API did not start"
        time.sleep(0.01)
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    yield url
    keep_metrics(httpx.get(f"{url}/metrics", auth=(OPERATE, "")).content)
    server.should_exit = True
    thread.join()
