"""`python -m cli up`: the embedded stack in the foreground, until Ctrl-C."""

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
from worker.event_loop import run_until_done
from worker.logs import configure_logging
from worker.settings import Settings, SettingsError, load_settings
from worker.stack.endpoints import Endpoints
from worker.stack.process import ProcessFailedError
from worker.stack.supervisor import Stack, StackError
from worker.stack.temporal_binary import NoTemporalError

STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
console = Console()
errors = Console(stderr=True)


def command(
    home: Annotated[Path | None, typer.Option(help="Folder of data and logs [TENURE_HOME, .tenure]")] = None,
    api_host: Annotated[str | None, typer.Option(help="Address of the API [TENURE_API_HOST, 127.0.0.1]")] = None,
    api_port: Annotated[int | None, typer.Option(help="Port of the API, 0 for any [TENURE_API_PORT, 8400]")] = None,
    temporal_port: Annotated[
        int | None, typer.Option(help="Port of Temporal, 0 for any [TENURE_TEMPORAL_PORT]")
    ] = None,
    mail_port: Annotated[int | None, typer.Option(help="Port of the mail sink, 0 for any [TENURE_MAIL_PORT]")] = None,
) -> None:
    """Start everything in the foreground and say where it is. Ctrl-C stops all of it.

    TENURE_DATABASE_URL, TENURE_TEMPORAL_ADDRESS and TENURE_SMTP_URL replace parts by real ones. The catalogue's journeys
    are published where nobody has published any, unless TENURE_PUBLISH_CATALOG is false.
    """
    try:
        settings = load_settings(
            home=home, api_host=api_host, api_port=api_port, temporal_port=temporal_port, mail_port=mail_port
        )
        configure_logging(settings.log_format)
        run_until_done(run_stack(settings))
    except (SettingsError, StackError, ProcessFailedError, NoTemporalError) as error:
        errors.print(str(error), style="red", markup=False, highlight=False)
        raise typer.Exit(1) from error
    except asyncio.CancelledError:
        raise typer.Exit(0) from None


async def run_stack(settings: Settings) -> None:
    """Run the stack until a signal. A signal while it starts stops what has started."""
    main = asyncio.current_task()
    for each in STOPS:
        asyncio.get_running_loop().add_signal_handler(each, _stop, main)
    async with Stack(settings, provider=settings.local_provider) as stack:
        console.print(address_table(stack.endpoints, settings))
        try:
            if settings.publish_catalog:
                await asyncio.to_thread(publish_catalog, stack.endpoints.api_url, settings)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            errors.print("stopping (Ctrl-C again to kill)")
            for each in STOPS:
                asyncio.get_running_loop().add_signal_handler(each, stack.kill_all)


def publish_catalog(url: str, settings: Settings) -> None:
    """Make a new stack useful at once; a stack that runs without journeys is better than none."""
    try:
        with ApiClient(url, settings.operator_key.get_secret_value()) as api:
            said = publish_shipped(api, settings.catalog)
    except ApiError as fault:
        errors.print(str(fault), style="red", markup=False, highlight=False)
    else:
        if said is not None:
            console.print(said, markup=False, highlight=False, soft_wrap=True)


def _stop(main: asyncio.Task[None] | None) -> None:
    if main is not None:
        main.cancel()


def address_table(endpoints: Endpoints, settings: Settings) -> Table:
    shown = Table(title="Tenure is up", title_justify="left", show_edge=False)
    for heading in ("what", "where", "pid"):
        shown.add_column(heading, overflow="fold")
    for what, where, pid in endpoints.rows():
        shown.add_row(what, where, str(pid or "elsewhere"))
    for name in settings.dev_keys:
        shown.add_row(name.replace("_", " "), getattr(settings, name).get_secret_value(), "")
    return shown
