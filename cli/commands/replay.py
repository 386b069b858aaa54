"""`python -m cli replay`: replay histories from files or from a cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer
from google.protobuf.json_format import ParseError
from rich.console import Console
from rich.table import Table
from temporalio.client import WorkflowHistory

from cli.failures import explained, temporal_address
from worker.composition.clients import connect_temporal, payload_codec
from worker.event_loop import run_until_done
from worker.settings import load_settings
from worker.testing.decryption import decrypted
from worker.testing.replay import ReplayVerdict, histories_of, history_files, read_history, replay

EVERY_RUN = "WorkflowType IN ('JourneyWorkflow', 'OutreachWorkflow')"
console = Console()


def command(
    files: Annotated[list[Path] | None, typer.Argument(help="Histories (.json, .json.gz), or folders of them.")] = None,
    address: Annotated[
        str | None, typer.Option(help="host:port of a cluster to read histories from [TENURE_TEMPORAL_ADDRESS]")
    ] = None,
    query: Annotated[str, typer.Option(help="Visibility query for the cluster's workflows.")] = EVERY_RUN,
    most: Annotated[int, typer.Option(help="Most histories to read from the cluster.")] = 1_000,
    strict: Annotated[bool, typer.Option(help="Also compare arguments, timeouts and timer lengths.")] = True,
    digests: Annotated[bool, typer.Option(help="Print only a hash of each history's commands.")] = False,
) -> None:
    """Replay histories with this code. A difference would block open runs once the code is deployed."""
    if missing := [str(path) for path in files or () if not path.exists()]:
        raise typer.BadParameter(f"{missing[0]} does not exist")
    with explained(temporal_address(address), f"workflow for the query {query}"):
        verdicts = run_until_done(_replay_all(files or [], address, query, most, strict))
    if digests:
        for verdict in verdicts:
            typer.echo(f"{verdict.digest} {verdict.name}")
    else:
        console.print(_table(verdicts))
        console.print(f"{len(verdicts)} histories, {sum(bool(verdict.faults) for verdict in verdicts)} differ")
    if not verdicts or any(verdict.faults for verdict in verdicts):
        raise typer.Exit(1)


async def _replay_all(
    files: list[Path], address: str | None, query: str, most: int, strict: bool
) -> list[ReplayVerdict]:
    return [
        await replay(name, history, strict=strict) async for name, history in _histories(files, address, query, most)
    ]


async def _histories(
    files: list[Path], address: str | None, query: str, most: int
) -> AsyncIterator[tuple[str, WorkflowHistory]]:
    settings = load_settings(temporal_address=temporal_address(address))
    codec = payload_codec(settings)
    for path in history_files(files):
        yield f"{path.parent.name}/{path.name}", await decrypted(_history_in(path), codec)
    if address is not None or not files:
        client = await connect_temporal(settings)
        async for history in histories_of(client, query, most):
            yield f"{history.workflow_id}@{history.run_id}", history


def _history_in(path: Path) -> WorkflowHistory:
    try:
        return read_history(path)
    except (OSError, ValueError, ParseError, EOFError) as error:
        typer.echo(
            f"{path} is no recorded history: {type(error).__name__}. `python -m cli record` writes one.", err=True
        )
        raise typer.Exit(1) from None


def _table(verdicts: list[ReplayVerdict]) -> Table:
    table = Table("history", "workflow", "events", "verdict", show_edge=False)
    for verdict in verdicts:
        result = "\n".join(verdict.faults) if verdict.faults else "same"
        style = "red" if verdict.faults else None
        table.add_row(verdict.name, verdict.workflow, str(verdict.events), result, style=style)
    return table
