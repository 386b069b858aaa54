"""JSON Schemas for editors: completion and red lines while one writes, from the same models that read the text."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from journeys.definition import Journey
from journeys.team import Team
from journeys.tracking import TrackingPlan

Kind = Literal["journey", "tracking-plan", "team"]
_MODELS: dict[Kind, type[BaseModel]] = {"journey": Journey, "tracking-plan": TrackingPlan, "team": Team}
_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(kind: Kind = "journey") -> dict[str, Any]:
    """The schema of what an author may write, short forms included."""
    model = _MODELS[kind]
    schema = model.model_json_schema(by_alias=True, mode="validation")
    return {"$schema": _DIALECT, "$id": f"urn:tenure:{kind}", **schema}
