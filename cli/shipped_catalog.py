"""Publish the catalogue of `up` to its stack.

A database in which a person has published is left alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from cli.api_client import ApiClient, ApiError, RefusedByApi
from cli.problem_format import as_line
from journeys.access.callers import VIA
from worker.catalogue.folder import read_folder

BY: Final = "catalog"


def publish_shipped(api: ApiClient, catalog: Path) -> str | None:
    """Publish the folder as a version; a line for people, or None if there was nothing to do. Raises ApiError."""
    authors = {journey["key"]: journey["published_by"] for journey in api.items("/v1/journeys")}
    versions = next(api.items("/v1/catalogue/versions", most=1), None)
    by = [*authors.values(), *([versions["published_by"]] if versions else [])]
    if any(author.partition(VIA)[0] != BY for author in by):
        return None
    try:
        published = api.publish_catalogue(read_folder(catalog), BY, retire=list(authors))
    except RefusedByApi as refusal:
        lines = [
            as_line(catalog / file, problem) for file, problem in zip(refusal.files, refusal.problems, strict=True)
        ]
        raise ApiError("\n".join([*lines, f"{catalog} is not published: {refusal}"])) from None
    if not published["created"]:
        return None
    return f"published version {published['number']} of the catalogue: {', '.join(published['journeys'])}"
