"""The application: parts are put together here, and nowhere else does the API know how they are made."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware

from api.calls import Check, Reader
from api.front import Front
from api.intake import Intake
from api.keys import Keys
from api.limits import Limits
from api.metrics import Metrics
from api.problems import refuse
from api.routes import Routes
from api.segment import Segment
from store.catalogue import Catalogue
from store.database import Database


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API needs from elsewhere."""

    database: Database
    keys: Keys
    limits: Limits
    check: Check


def build(parts: Parts) -> FastAPI:
    """The application over these parts. It closes none of them."""
    metrics = Metrics()
    intake = Intake(parts.database, Catalogue(), parts.limits, metrics)
    reader = Reader(parts.limits, parts.check)
    routes = Routes(parts.keys, seconds=parts.limits.patience_seconds)
    Segment(intake, reader, parts.limits).routes(routes)
    app = FastAPI(
        title="Tenure",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_watching(intake),
        middleware=[Middleware(Front, metrics=metrics)],
        redirect_slashes=False,
        exception_handlers={HTTPException: refuse},
    )
    app.router.routes.extend(routes.made)
    return app


def _watching(intake: Intake) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(intake.watch())
        yield
        watch.cancel()

    return lifespan
