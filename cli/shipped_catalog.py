"""The catalogue's journeys, published once into a database that has none: a new stack can be used at once."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cli.api_client import ApiClient, ApiError, RefusedByApi
from journeys.language.parsing import read_journey

BY: Final = "catalog"


def publish_shipped(api: ApiClient, catalog: Path) -> str | None:
    """Publish what is not published yet, and say so in a line; None when nothing is to do.

    A database in which a person has published is theirs, and is left alone. Raises RemoteError.
    """
    there = {journey["key"]: journey["published_by"] for journey in api.items("/v1/journeys")}
    if any(by != BY for by in there.values()):
        return None
    done, refused = [], []
    for path in sorted((catalog / "journeys").glob("*.yaml")):
        journey = read_journey(path.read_bytes())[0]
        key = journey.journey if journey is not None else path.stem
        if key in there:
            continue
        try:
            api.publish(key, path.read_bytes(), BY, only_new=True)
            done.append(key)
        except RefusedByApi as refusal:
            if refusal.status != 412:  # somebody else was quicker
                refused.append(f"{path.name} ({refusal})")
    if refused:
        raise ApiError(f"not published: {'; '.join(refused)}. `python -m cli lint` says why.")
    return f"published the catalogue's journeys: {', '.join(done)}" if done else None
