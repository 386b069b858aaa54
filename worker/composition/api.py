"""The API's process, put together: `python -m api`. It accepts events also while Temporal is down."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Iterator
from functools import partial

import structlog
import uvicorn
import uvloop

from activities.content.templates import template_infos
from activities.gate.dry_run import dry_run
from api.app import Parts, build_app
from api.http.asgi import AsgiApp
from api.http.auth import ApiKeys
from api.http.limits import Limits
from api.runs.temporal import TemporalRunCommands
from journeys.events.tracking_plan import TrackingPlan, read_plan
from store.database import Database
from store.timeouts import limit_statement_time
from worker import event_loop, temporal
from worker.composition.providers import load_providers, webhook_secrets
from worker.composition.worker import consent_book, content_preview, dependencies, policy, roster
from worker.logs import configure_logging
from worker.loops.feed_push import feed_signing
from worker.settings import Settings, SettingsError, load_settings

log = structlog.get_logger()


def application(settings: Settings, database: Database, limits: Limits) -> AsgiApp:
    """The API over this database. Raises SettingsError naming every fault of the tracking plan."""
    return build_app(
        Parts(
            database=database,
            engine=TemporalRunCommands(partial(temporal.connect_temporal, settings)),
            keys=ApiKeys(
                write=settings.write_key.get_secret_value(), operator=settings.operator_key.get_secret_value()
            ),
            plan=plan(settings),
            policy=policy(settings.catalog),
            consent=consent_book(settings),
            templates=partial(template_infos, settings.catalog / "templates"),
            desk=content_preview(settings),
            asking=partial(dry_run, dependencies(_asking_only(settings), database)),
            limits=limits,
            roster=roster(settings.catalog),
            hooks=webhook_secrets(load_providers()),
            sign=feed_signing(load_providers()),
            replies=settings.replies,
        )
    )


def _asking_only(settings: Settings) -> Settings:
    """Nothing is sent from here: of the channels only who can be reached by them is asked, which needs no relay."""
    return settings.model_copy(update={"smtp_url": settings.smtp_url or "smtp://127.0.0.1"})


def plan(settings: Settings) -> TrackingPlan:
    """The catalogue's tracking plan. Raises SettingsError with every problem in it."""
    path = settings.catalog / "tracking-plan.yaml"
    found, source = read_plan(path.read_bytes())
    if found is None:
        raise SettingsError("\n".join(f"{path}:{problem}" for problem in source.problems))
    return found


class _Server(uvicorn.Server):
    """Signals are handled by our loop: uvicorn would raise them again at its end, and the exit code would not be 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(each, self._leave, each)
        yield

    def _leave(self, told: int) -> None:
        """Streams end at once: their clients would keep the process until its grace is over."""
        if isinstance(self.config.app, AsgiApp):
            self.config.app.leave()
        self.handle_exit(told, None)


async def serve_api(settings: Settings) -> None:
    """Answer until told to stop: then no new connection, the requests in hand are answered, and the process ends."""
    if settings.database_url is None:
        raise SettingsError("TENURE_DATABASE_URL is not set: give the database, or run `make up`")
    limits = Limits()
    database = Database(settings.database_url, pool=limits.pool)
    limit_statement_time(database, limits.patience_seconds)
    config = uvicorn.Config(
        application(settings, database, limits),
        host=settings.api_host,
        port=settings.api_port,
        http="httptools",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=int(settings.graceful_shutdown_seconds),
    )
    log.info("api.starting", host=settings.api_host, port=settings.api_port)
    await _Server(config).serve()
    await database.close()
    log.info("api.stopped")


def main() -> int:
    """Entry point."""
    try:
        settings = load_settings()
        configure_logging(settings.log_format)
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        event_loop.run_until_done(serve_api(settings))
    except SettingsError as fault:
        sys.stderr.write(f"{fault}\n")
        return 2
    return 0
