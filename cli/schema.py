"""`python -m cli schema`: JSON Schemas of what people write, for editors."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from journeys.schema import Kind, json_schema


def command(kind: Annotated[Kind, typer.Argument(help="What is written.")] = "journey") -> None:
    """Print the JSON Schema of a journey, of the tracking plan or of the team (docs/journey-language.md says how editors use it)."""
    typer.echo(json.dumps(json_schema(kind), indent=2, ensure_ascii=False))
