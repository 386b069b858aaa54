"""The table of commands. A command's module is imported only when it is the one that was asked for."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence

import typer

# name → what `--help` says. The code is `command` in the module `cli.commands.<name>`, with Typer's annotations.
COMMANDS = {
    "demo": "Play half a year of real purchases live, and compare it with the backtest.",
    "up": "Start everything: database, Temporal, worker, API and a mail sink.",
    "lint": "Check the catalogue, or some of its files: every problem with its line, its harm and its mend.",
    "diagram": "Draw a journey, as Mermaid.",
    "schema": "Print the JSON Schema that lets an editor complete and check what one writes.",
    "publish": "Publish journeys through the API; a change is a new version.",
    "preview": "See a template as a person would get it; nothing is sent.",
    "where": "Where a person is in their journeys, and why they got or did not get what.",
    "tasks": "What there is to do for people, one task with its log, and closing it.",
    "simulate": "Try a journey on one person's recorded events; nothing is sent.",
    "replay": "Replay recorded histories, or a cluster's, with this code: what it would break, before it is deployed.",
    "record": "Record a run's history, to be replayed in every build.",
    "backtest": "Try a journey on everyone's recorded events, or compare two; nothing is sent.",
}


def build_cli(asked: str | None) -> typer.Typer:
    """All commands by name, one of them real: the help needs a line of each, and importing them would take seconds."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    app.callback()(tenure)
    for name, line in COMMANDS.items():
        real = name == asked
        app.command(name, help=None if real else line, short_help=line)(_load(name) if real else _not_loaded)
    return app


def tenure() -> None:
    """Customer-retention journeys that survive anything."""


def main(argv: Sequence[str] | None = None) -> None:
    arguments = list(sys.argv[1:] if argv is None else argv)
    asked = next((each for each in arguments if not each.startswith("-")), None)
    build_cli(asked)(arguments, prog_name="python -m cli")


def _load(name: str) -> Callable[..., None]:
    command: Callable[..., None] = importlib.import_module(f"cli.commands.{name.replace('-', '_')}").command
    return command


def _not_loaded() -> None:
    raise NotImplementedError("only the command that was asked for is loaded")
