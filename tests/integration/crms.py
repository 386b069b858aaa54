"""CRMs by hand: an HTTP application each, with the shapes of the real ones, faults included, and what people do in them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from activities.mirrors.port import Call, Reply


@dataclass
class Crm:
    """What both have: tasks by id, the next answers to fail with, and how many requests came."""

    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    ill: list[int] = field(default_factory=list)
    lost_replies: int = 0
    asked: list[str] = field(default_factory=list)

    def call(self) -> Call:
        """A client of this one, as the composition root would give it."""
        client = httpx.AsyncClient(transport=httpx.ASGITransport(self.app()), base_url="http://crm")

        async def call(method: str, path: str, body: Mapping[str, Any] | None) -> Reply:
            self.asked.append(f"{method} {path.partition('?')[0]}")
            if self.ill:
                return Reply(self.ill.pop(0), {"message": "ill"})
            found = await client.request(method, path, json=body)
            if self.lost_replies and method != "GET" and not path.endswith(("search", "read")):
                self.lost_replies -= 1
                raise httpx.ReadTimeout("the answer was lost")
            return Reply(found.status_code, found.json() if found.content else None)

        return call

    def app(self) -> Starlette:
        raise NotImplementedError


class HubSpotByHand(Crm):
    """`/crm/v3/objects/tasks`, with search and batch read."""

    def app(self) -> Starlette:
        base = "/crm/v3/objects/tasks"
        return Starlette(
            routes=[
                Route(base, self.create, methods=["POST"]),
                Route(f"{base}/search", self.search, methods=["POST"]),
                Route(f"{base}/batch/read", self.read, methods=["POST"]),
                Route(f"{base}/{{id}}", self.update, methods=["PATCH"]),
            ]
        )

    async def create(self, request: Request) -> Response:
        properties = (await request.json())["properties"]
        if not properties.get("hs_timestamp"):
            return JSONResponse({"category": "VALIDATION_ERROR"}, 400)
        number = str(1000 + len(self.tasks))
        self.tasks[number] = properties
        return JSONResponse({"id": number, "properties": properties}, 201)

    async def update(self, request: Request) -> Response:
        number = request.path_params["id"]
        if number not in self.tasks:
            return JSONResponse({"category": "OBJECT_NOT_FOUND"}, 404)
        self.tasks[number] |= (await request.json())["properties"]
        return JSONResponse({"id": number, "properties": self.tasks[number]})

    async def search(self, request: Request) -> Response:
        (wanted,) = (await request.json())["filterGroups"][0]["filters"]
        found = [n for n, each in self.tasks.items() if each.get(wanted["propertyName"]) == wanted["value"]]
        return JSONResponse({"total": len(found), "results": [{"id": n, "properties": {}} for n in found]})

    async def read(self, request: Request) -> Response:
        body = await request.json()
        wanted = [each["id"] for each in body["inputs"] if each["id"] in self.tasks]
        results = [{"id": n, "properties": {p: self.tasks[n].get(p) for p in body["properties"]}} for n in wanted]
        return JSONResponse({"status": "COMPLETE", "results": results})

    def close(self, number: str, outcome: str) -> None:
        """Somebody ticks it off there."""
        self.tasks[number] |= {"hs_task_status": "COMPLETED", "tenure_outcome": outcome}


class SalesforceByHand(Crm):
    """Upsert by external id, and queries as this product writes them."""

    def app(self) -> Starlette:
        base = "/services/data/v61.0"
        return Starlette(
            routes=[
                Route(f"{base}/sobjects/Task/Tenure_Task_Key__c/{{key:path}}", self.upsert, methods=["PATCH"]),
                Route(f"{base}/query", self.query),
            ]
        )

    async def upsert(self, request: Request) -> Response:
        key = unquote(request.scope["raw_path"].decode().rpartition("/Tenure_Task_Key__c/")[2])
        new = key not in self.tasks
        self.tasks.setdefault(key, {}).update(await request.json())
        return JSONResponse({"id": "00T1", "success": True, "created": True}, 201) if new else Response(status_code=204)

    async def query(self, request: Request) -> Response:
        keys = [each.replace("\\'", "'").replace("\\\\", "\\") for each in re.findall(r"'((?:[^'\\]|\\.)*)'", request.query_params["q"])]  # fmt: skip
        found = [key for key in keys if self.tasks.get(key, {}).get("Status") == "Completed"]
        records = [{"Tenure_Task_Key__c": key, "Tenure_Outcome__c": self.tasks[key].get("Tenure_Outcome__c")} for key in found]  # fmt: skip
        return JSONResponse({"totalSize": len(records), "done": True, "records": records})

    def close(self, key: str, outcome: str) -> None:
        self.tasks[key] |= {"Status": "Completed", "Tenure_Outcome__c": outcome}
