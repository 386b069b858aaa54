"""Operations listener: health in depth, metrics and the OpenAPI document without keys.

It listens on a port of its own, which only the operator's monitoring reaches.
"""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from api.http.openapi import Description
from api.operations.health import HealthRoutes


def operations_app(health: HealthRoutes, description: Description) -> Starlette:
    """The application over the health routes and the description of the API beside it."""
    return Starlette(
        routes=[
            Route("/livez", health.live),
            Route("/readyz", health.ready_in_depth),
            Route("/metrics", health.metrics),
            Route("/openapi.json", description.openapi),
        ]
    )
