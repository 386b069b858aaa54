"""The API process (`python -m api`): the application over a database, served by uvicorn.

It starts and accepts events while Temporal is down.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from functools import partial

import structlog
import uvicorn
import uvloop

from activities.content.templates import template_infos
from activities.gate.dry_run import dry_run
from api.http.auth import BootstrapKeys
from api.http.head_limit import HeadLimitProtocol
from api.http.limits import Limits
from api.parts import Parts
from api.runs.temporal import TemporalRunCommands
from store.database import Database
from store.process_clock import CLOCK, measure_on_connect
from store.timeouts import limit_statement_time
from worker import event_loop
from worker.catalogue.check import check_catalogue
from worker.catalogue.published import PublishedCatalogue
from worker.composition.catalog import consent_rules, policy, roster, tracking_plan
from worker.composition.channels import content_preview
from worker.composition.clients import connect_temporal, open_database, payload_codec
from worker.composition.dependencies import dependencies
from worker.composition.feed import feed_signing
from worker.composition.providers import webhook_secrets
from worker.composition.versioned_api import VersionedApp, follows_versions
from worker.logs.configuration import configure_logging
from worker.probe import is_answered
from worker.provider_settings import load_providers
from worker.setting_values import split_links, split_origins
from worker.settings import Settings, SettingsError, load_settings

log = structlog.get_logger()


def application_parts(settings: Settings, database: Database, limits: Limits) -> Parts:
    """Parts of the API over this database. Raises SettingsError naming every problem of a catalogue file."""
    providers = load_providers()
    return Parts(
        database=database,
        engine=TemporalRunCommands(
            partial(connect_temporal, settings), partial(is_answered, task_queue=settings.task_queue)
        ),
        codec=payload_codec(settings),
        codec_origins=split_origins(settings.codec_origins),
        browser_origins=split_origins(settings.browser_origins),
        public_url=settings.public_url,
        keys=BootstrapKeys(
            write=settings.write_key.get_secret_value(), operator=settings.operator_key.get_secret_value()
        ),
        plan=tracking_plan(settings.catalog),
        policy=policy(settings.catalog),
        consent=consent_rules(settings),
        templates=partial(template_infos, settings.catalog / "templates"),
        check_catalogue=check_catalogue,
        desk=content_preview(settings),
        dry_run=partial(dry_run, dependencies(_dry_run_settings(settings), database)),
        limits=limits,
        roster=roster(settings.catalog),
        webhook_secrets=webhook_secrets(providers),
        sign_feed=feed_signing(providers),
        replies=settings.replies,
        in_production=settings.environment == "production",
        links=split_links(settings.start_page_links),
        address_fields=tuple(filter(None, (providers.apprise_field,))),
    )


def _dry_run_settings(settings: Settings) -> Settings:
    """The API sends nothing: a dry run asks channels only for a person's address, which needs no relay."""
    return settings.model_copy(update={"smtp_url": settings.smtp_url or "smtp://127.0.0.1"})


class _Server(uvicorn.Server):
    """Leaves signals to our loop: uvicorn raises them again at its end, and the exit code would not be 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._leave, number)
        yield

    def _leave(self, number: int) -> None:
        """End streams at once: their clients would keep the process alive until its grace period is over."""
        if isinstance(self.config.app, VersionedApp):
            self.config.app.end_streams()
        self.handle_exit(number, None)


class _OperationsServer(uvicorn.Server):
    """Ends with the API's server, which gets the signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _operations_listener(settings: Settings, app: VersionedApp) -> AsyncIterator[None]:
    """Serve the operations application while the body runs, if it has an address."""
    if settings.operations_address is None:
        yield
        return
    host, _, port = settings.operations_address.rpartition(":")
    config = uvicorn.Config(
        app.operations,
        interface="asgi3",  # it is a method, which uvicorn takes for the older interface
        host=host.strip("[]"),
        port=int(port),
        http=HeadLimitProtocol,
        lifespan="off",
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    server = _OperationsServer(config)
    serving = asyncio.create_task(server.serve())
    try:
        yield
    finally:
        server.should_exit = True
        await serving


async def serve_api(settings: Settings) -> None:
    """Serve until a signal; then take no new connection and answer the requests in hand. Raises SettingsError."""
    limits = Limits()
    database = open_database(settings, pool=limits.pool)
    limit_statement_time(database, limits.patience_seconds)
    measure_on_connect(database)
    CLOCK.offset = timedelta(seconds=settings.clock_offset_seconds)
    async with PublishedCatalogue(settings, database) as published:
        # Without a database it starts with the folder of the settings, answers 503, and reads the version as soon as it can.
        app = VersionedApp(partial(application_parts, database=database, limits=limits), await published.at_once())
        config = uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            http=HeadLimitProtocol,
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=bool(settings.api_proxies),
            forwarded_allow_ips=settings.api_proxies,
            timeout_graceful_shutdown=int(settings.graceful_shutdown_seconds),
        )
        log.info("api.starting", host=settings.api_host, port=settings.api_port)
        async with _operations_listener(settings, app), follows_versions(app, published):
            await _Server(config).serve()
    await database.close()
    log.info("api.stopped")


def main() -> int:
    """Exit code of the process: 2 when a setting is wrong or missing."""
    try:
        settings = load_settings()
        configure_logging(settings.log_format)
        asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
        event_loop.run_until_done(serve_api(settings))
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0
