"""A front door for a storm while there is no other: `/v1/batch` and `/livez` over `store.ingest`."""

from __future__ import annotations

import os

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from journeys.incoming import Incoming, read_call
from store.catalogue import Catalogue
from store.database import Database
from store.ingest import accept


def main() -> None:
    database, catalogue = Database(os.environ["TENURE_DATABASE_URL"]), Catalogue()

    async def batch(request: Request) -> JSONResponse:
        calls = [read_call(raw) for raw in (await request.json())["batch"]]
        whole = [call for call in calls if isinstance(call, Incoming)]
        for call in whole:
            call.name = call.name or call.kind
        found = await accept(database, catalogue, whole, source="segment")
        return JSONResponse({"accepted": found.accepted, "duplicates": found.duplicates})

    async def livez(_: Request) -> JSONResponse:
        return JSONResponse({})

    routes = [Route("/v1/batch", batch, methods=["POST"]), Route("/livez", livez)]
    uvicorn.run(Starlette(routes=routes), port=int(os.environ["TENURE_API_PORT"]), log_level="warning")


if __name__ == "__main__":
    main()
