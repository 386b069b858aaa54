"""Paths of the API's routes with sample values, for tests of all routes."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from journeys.consent.rules import DEV_BASE, DEV_KEY
from journeys.tokens.signed_links import PATHS, Link, Links, Purpose
from tests.support.api import CLICKS

SAMPLES = {
    "call": "track",
    "file": "style.css",
    "key": "some-journey",
    "run": "journey%2Fsome%2Fu_1%2F-%2F1",
    "name": "setup%2Ffirst-steps",
    "trace": "4bf92f3577b34da6a3ce929d0e0e4736",
}


def sample_path(path: str, token: str | None = None) -> str:
    """A path of a route with a value for each parameter; without a given token, one that the route accepts."""
    samples = {**SAMPLES, "id": _id_for(path), "token": token_for(path) if token is None else token}
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda match: samples[match[1]], path)


def _id_for(path: str) -> str:
    if path.startswith("/v1/keys/"):
        return "k_0123456789abcdef"
    return "3b9f5f0e-6f0b-4d39-9a54-0a6f1c2d3e4f" if "inbox/{id}" in path else "1"


def token_for(path: str) -> str:
    """A valid token for the page or tracked link at this path."""
    if path.startswith("/c/"):
        return CLICKS.token("some-message", 0)
    purpose: Purpose = next((purpose for purpose, page in PATHS.items() if path.startswith(f"/{page}/")), "preferences")
    return Links(DEV_BASE, (DEV_KEY,)).token(Link(purpose, "u_1"), datetime.now(UTC))
