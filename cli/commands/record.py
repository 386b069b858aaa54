"""`python -m cli record RUN_ID --to tests/histories/…`: keep a run's history, so that code that would break it is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from worker.composition.clients import connect_temporal
from worker.event_loop import run_until_done
from worker.settings import load_settings
from worker.testing.replay import write_history


def command(
    workflow: Annotated[str, typer.Argument(help="The run's id, `journey/…`; also `outreach/…`.")],
    to: Annotated[Path, typer.Option(help="Where to: tests/histories/JOURNEY/CASE.json.gz")],
    run_id: Annotated[str | None, typer.Option(help="One of its Temporal runs; the latest if not given.")] = None,
    address: Annotated[str | None, typer.Option(help="A running cluster [TENURE_TEMPORAL_ADDRESS]")] = None,
) -> None:
    """Record a history. It holds what the run was told: record test people only, and count it in `expected_counts`."""
    run_until_done(_record(workflow, to, run_id, address))
    typer.echo(f"{to} is recorded; add it to expected_counts")


async def _record(workflow: str, to: Path, run_id: str | None, address: str | None) -> None:
    client = await connect_temporal(load_settings(temporal_address=address))
    write_history(await client.get_workflow_handle(workflow, run_id=run_id).fetch_history(), to)
