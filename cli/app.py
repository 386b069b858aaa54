"""The table of commands. A command's module is imported only when it is the one that was asked for."""

from __future__ import annotations

import importlib
from typing import Any

import click
import typer
from typer.core import TyperGroup

# name → what `--help` says. The code is `command` in the module `cli.<name>`, with Typer's annotations.
COMMANDS = {
    "up": "Start everything: database, Temporal, worker, API and a mail sink.",
}


class LazyCommands(TyperGroup):
    """Commands by name. The help needs one line of each, and importing them all would take seconds."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return click.Command(cmd_name, help=COMMANDS[cmd_name]) if cmd_name in COMMANDS else None

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        name, stub, rest = super().resolve_command(ctx, args)
        return name, load(stub.name) if stub is not None and stub.name else None, rest


def load(name: str) -> click.Command:
    """The command of that name, imported."""
    module: Any = importlib.import_module(f"cli.{name}")
    single = typer.Typer(add_completion=False)
    single.command(name=name, help=module.command.__doc__ or COMMANDS[name])(module.command)
    return typer.main.get_command(single)


app = typer.Typer(cls=LazyCommands, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def tenure() -> None:
    """Customer-retention journeys that survive anything."""


def main() -> None:
    app(prog_name="python -m cli")
