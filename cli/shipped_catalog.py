"""Publish the catalogue's journeys to a new stack.

A database in which a person has published a journey is left alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cli.api_client import ApiClient, ApiError, RefusedByApi
from journeys.access.callers import VIA
from journeys.language.parsing import read_journey

BY: Final = "catalog"


def publish_shipped(api: ApiClient, catalog: Path) -> str | None:
    """Publish the journeys that are not published yet; a line for people, or None if there was nothing to do.

    Raises ApiError.
    """
    published_by = {journey["key"]: journey["published_by"] for journey in api.items("/v1/journeys")}
    if any(author.partition(VIA)[0] != BY for author in published_by.values()):
        return None
    published, refused = [], []
    for path in sorted((catalog / "journeys").glob("*.yaml")):
        journey = read_journey(path.read_bytes())[0]
        key = journey.journey if journey is not None else path.stem
        if key in published_by:
            continue
        try:
            api.publish(key, path.read_bytes(), BY, only_new=True)
            published.append(key)
        except RefusedByApi as refusal:
            if refusal.status != 412:  # another process has just published it
                refused.append(f"{path.name} ({refusal})")
    if refused:
        raise ApiError(f"not published: {'; '.join(refused)}. `python -m cli lint` shows the reasons.")
    return f"published the catalogue's journeys: {', '.join(published)}" if published else None
