"""`python -m cli record`: write a run's history to a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cli.failures import explained, temporal_address
from worker.composition.clients import connect_temporal
from worker.event_loop import run_until_done
from worker.settings import load_settings
from worker.testing.decryption import fetch_decrypted
from worker.testing.replay import write_history


def command(
    workflow: Annotated[str, typer.Argument(help="Workflow id: `journey/…` or `outreach/…`.")],
    to: Annotated[Path, typer.Option(help="File to write: tests/histories/JOURNEY/CASE.json.gz")],
    run_id: Annotated[str | None, typer.Option(help="Temporal run id; by default the latest.")] = None,
    address: Annotated[str | None, typer.Option(help="host:port of the cluster [TENURE_TEMPORAL_ADDRESS]")] = None,
) -> None:
    """Record a history, decrypted. It contains the run's events: record test people only, and count it in `expected_counts`."""
    with explained(temporal_address(address), f"workflow {workflow}" + f" with the run id {run_id}" * bool(run_id)):
        run_until_done(_record(workflow, to, run_id, address))
    typer.echo(f"{to} written; add it to expected_counts")


async def _record(workflow: str, to: Path, run_id: str | None, address: str | None) -> None:
    client = await connect_temporal(load_settings(temporal_address=temporal_address(address)))
    handle = client.get_workflow_handle(workflow, run_id=run_id)
    write_history(await fetch_decrypted(handle, client.data_converter.payload_codec), to)
