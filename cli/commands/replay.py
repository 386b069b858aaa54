"""`python -m cli replay`: recorded histories, or those of a running cluster, through today's code; exit 1 if one differs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from temporalio.client import WorkflowHistory

from worker.composition.clients import connect_temporal
from worker.event_loop import run_until_done
from worker.settings import load_settings
from worker.testing.replay import ReplayVerdict, histories_of, history_files, read_history, replay

EVERY_RUN = "WorkflowType IN ('JourneyWorkflow', 'OutreachWorkflow')"
console = Console()


def command(
    files: Annotated[list[Path] | None, typer.Argument(help="Histories (.json, .json.gz) or folders of them.")] = None,
    address: Annotated[str | None, typer.Option(help="A running cluster [TENURE_TEMPORAL_ADDRESS]")] = None,
    query: Annotated[str, typer.Option(help="Which of its workflows, as a visibility query.")] = EVERY_RUN,
    most: Annotated[int, typer.Option(help="How many of them at most.")] = 1_000,
    strict: Annotated[bool, typer.Option(help="Compare arguments, timeouts and timer lengths as well.")] = True,
    digests: Annotated[bool, typer.Option(help="Print a digest of all commands of each, and nothing else.")] = False,
) -> None:
    """Replay histories with this code before it is deployed: a difference would block the runs that have them."""
    found = run_until_done(_replay_all(files or [], address, query, most, strict))
    if digests:
        for each in found:
            typer.echo(f"{each.digest} {each.name}")
    else:
        console.print(_table(found))
        console.print(f"{len(found)} histories, {sum(bool(each.faults) for each in found)} differ")
    if not found or any(each.faults for each in found):
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
    for path in history_files(files):
        yield f"{path.parent.name}/{path.name}", read_history(path)
    if address is not None or not files:
        client = await connect_temporal(load_settings(temporal_address=address))
        async for history in histories_of(client, query, most):
            yield f"{history.workflow_id}@{history.run_id}", history


def _table(found: list[ReplayVerdict]) -> Table:
    table = Table("history", "workflow", "events", "verdict", show_edge=False)
    for each in found:
        verdict = "\n".join(each.faults) if each.faults else "same"
        table.add_row(each.name, each.workflow, str(each.events), verdict, style="red" if each.faults else None)
    return table
