"""Table of commands. Only the module of the called command is imported."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable, Sequence

import typer

COMMANDS = {
    "demo": "Play half a year of real purchases live and compare it with the backtest.",
    "up": "Start everything: database, Temporal, worker, API and a mail sink.",
    "lint": "Check the catalogue or some of its files; each problem comes with line, consequence and fix.",
    "diagram": "Draw a journey as a Mermaid diagram.",
    "schema": "Print the JSON Schema with which an editor completes and checks journeys.",
    "publish": "Publish journeys through the API. A changed journey becomes a new version.",
    "preview": "Show a template as a person would get it. Nothing is sent.",
    "where": "Show where a person is in their journeys, and why they did or did not get a message.",
    "tasks": "List open tasks, show one with its log, or close it.",
    "parked": "List rows that could not be delivered to their runs, replay or discard them.",
    "quarantine": "List events that are held with their faults, replay or discard them.",
    "keys": "List API keys, or make, rotate or revoke one.",
    "import": "Send recorded events as history: they build profiles, open no journey and send nothing.",
    "simulate": "Run a journey on one person's recorded events. Nothing is sent.",
    "replay": "Replay recorded histories with this code, to see before a deployment what it would break.",
    "record": "Record a run's history for replay in every build.",
    "backtest": "Run a journey on everyone's recorded events, or compare two journeys. Nothing is sent.",
}
"""Names with their line in `--help`. The code is the function `command` of `cli.commands.<name>`, or of its place."""
PLACES = {"import": "events.history", "quarantine": "events.quarantine"}
"""Modules of commands that are not named as their commands."""


def build_cli(called: str | None) -> typer.Typer:
    """All commands by name. Only the called one is loaded: `--help` needs one line of each, and loading takes seconds."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(tenure)
    for name, line in COMMANDS.items():
        loaded = name == called
        app.command(name, help=None if loaded else line, short_help=line)(_load(name) if loaded else _not_loaded)
    return app


def tenure() -> None:
    """Run customer-retention journeys as durable Temporal workflows."""


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command in `argv`, by default that of this process."""
    os.umask(0o077)  # histories, mails and logs that a command writes are for their owner only
    arguments = list(sys.argv[1:] if argv is None else argv)
    called = next((word for word in arguments if not word.startswith("-")), None)
    build_cli(called)(arguments, prog_name="python -m cli")


def _load(name: str) -> Callable[..., None]:
    place = PLACES.get(name, name.replace("-", "_"))
    command: Callable[..., None] = importlib.import_module(f"cli.commands.{place}").command
    return command


def _not_loaded() -> None:
    raise NotImplementedError("only the called command is loaded")
