"""`python -m cli schema`: JSON Schemas of journeys, tracking plan and team, for editors."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

import typer
from pydantic import BaseModel

from journeys.events.tracking_plan import TrackingPlan
from journeys.language.definition import Journey
from journeys.tasks.team import Team


def command(kind: Annotated[SchemaKind, typer.Argument(help="Kind of file.")] = "journey") -> None:
    """Print the JSON Schema of journeys, of the tracking plan or of the team. See docs/journey-language.md for editors."""
    typer.echo(json.dumps(json_schema(kind), indent=2, ensure_ascii=False))


SchemaKind = Literal["journey", "tracking-plan", "team"]
_MODELS: dict[SchemaKind, type[BaseModel]] = {"journey": Journey, "tracking-plan": TrackingPlan, "team": Team}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(kind: SchemaKind = "journey") -> dict[str, Any]:
    """The schema of one kind of file, short forms included."""
    model = _MODELS[kind]
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": _DIALECT, "$id": f"urn:tenure:{kind}", **schema}
