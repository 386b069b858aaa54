"""`python -m cli up`: run the embedded stack in the foreground until Ctrl-C."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from cli.api_client import ApiClient, ApiError
from cli.shipped_catalog import publish_shipped
from worker.catalogue.folder import read_folder
from worker.event_loop import run_until_done
from worker.logs.configuration import configure_logging
from worker.settings import Settings, SettingsError, load_settings
from worker.stack.address_checks import StackError
from worker.stack.endpoints import Endpoints
from worker.stack.ports import PortSettings, load_ports
from worker.stack.process import ProcessFailedError
from worker.stack.supervisor import Stack
from worker.stack.temporal.build import NoTemporalError

WATCH_SECONDS = 0.5
"""Between two looks at the catalogue's files."""
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
console = Console()
errors = Console(stderr=True)


def command(
    home: Annotated[Path | None, typer.Option(help="Folder of data and logs [TENURE_HOME, .tenure]")] = None,
    api_host: Annotated[str | None, typer.Option(help="Address of the API [TENURE_API_HOST, 127.0.0.1]")] = None,
    api_port: Annotated[int | None, typer.Option(help="Port of the API, 0 for any [TENURE_API_PORT, 8400]")] = None,
    temporal_port: Annotated[
        int | None, typer.Option(help="Port of Temporal, 0 for any [TENURE_TEMPORAL_PORT, 7233]")
    ] = None,
    temporal_store: Annotated[
        str | None, typer.Option(help="Store of Temporal: sqlite or postgres [TENURE_TEMPORAL_STORE, sqlite]")
    ] = None,
    mail_port: Annotated[
        int | None, typer.Option(help="Port of the mail sink, 0 for any [TENURE_MAIL_PORT, 1025]")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="Publish the catalogue whenever a file of it is saved.")
    ] = False,
) -> None:
    """Start everything in the foreground and print the addresses. Ctrl-C stops it.

    TENURE_DATABASE_URL, TENURE_TEMPORAL_ADDRESS and TENURE_SMTP_URL replace embedded components. The catalogue is published at
    the start, unless a person has published before or TENURE_PUBLISH_CATALOG is false.
    """
    try:
        settings = load_settings(
            home=home,
            api_host=api_host,
            api_port=api_port,
            temporal_store=temporal_store,
        )
        ports = load_ports(temporal_port=temporal_port, mail_port=mail_port)
        configure_logging(settings.log_format)
        run_until_done(run_stack(settings, ports, watch=watch))
    except (SettingsError, StackError, ProcessFailedError, NoTemporalError) as error:
        errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
    except asyncio.CancelledError:
        raise typer.Exit(0) from None


async def run_stack(settings: Settings, ports: PortSettings, *, watch: bool = False) -> None:
    """Run the stack until a signal; a signal during the start stops what has started."""
    main = asyncio.current_task()
    for number in STOPS:
        asyncio.get_running_loop().add_signal_handler(number, _stop, main)
    async with Stack(settings, ports=ports, provider=settings.local_provider) as stack:
        console.print(address_table(stack.endpoints, settings))
        try:
            if settings.publish_catalog:
                await asyncio.to_thread(publish_catalog, stack.endpoints.api_url, settings)
            await _watch(stack.endpoints.api_url, settings) if watch else await asyncio.Event().wait()
        except asyncio.CancelledError:
            errors.print("stopping (Ctrl-C again to kill)")
            for number in STOPS:
                asyncio.get_running_loop().add_signal_handler(number, stack.kill_all)


async def _watch(url: str, settings: Settings) -> None:
    """Publish the catalogue after each change of a file, until the task is cancelled."""
    seen = await asyncio.to_thread(read_folder, settings.catalog)
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        files = await asyncio.to_thread(read_folder, settings.catalog)
        if files != seen:
            seen = files
            await asyncio.to_thread(publish_catalog, url, settings)


def publish_catalog(url: str, settings: Settings) -> None:
    """Publish the catalogue's journeys to a new stack. An error is printed, and the stack keeps running."""
    try:
        with ApiClient(url, settings.operator_key.get_secret_value()) as api:
            line = publish_shipped(api, settings.catalog)
    except ApiError as error:
        errors.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
    else:
        if line is not None:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def _stop(main: asyncio.Task[None] | None) -> None:
    if main is not None:
        main.cancel()


def address_table(endpoints: Endpoints, settings: Settings) -> Table:
    shown = Table(title="Tenure is up", title_justify="left", show_edge=False)
    for heading in ("component", "address", "pid"):
        shown.add_column(heading, overflow="fold")
    for component, address, pid in endpoints.rows():
        shown.add_row(component, address, str(pid or "external"))
    for name in settings.dev_keys:
        shown.add_row(name.replace("_", " "), getattr(settings, name).get_secret_value(), "")
    return shown
