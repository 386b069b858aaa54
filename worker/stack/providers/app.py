"""ASGI application of the local provider: vendors, faults, accepted items."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from worker.stack.providers.accepted import AcceptedItems, newest
from worker.stack.providers.environment import KEY
from worker.stack.providers.faults import ProviderFault, ProviderFaults


@dataclass(slots=True)
class VendorRequest:
    """A request to a simulated vendor."""

    request: Request
    body: bytes
    accepted: AcceptedItems
    key: str

    @property
    def json(self) -> Any:
        """The body as a JSON object; an empty one if it is not."""
        try:
            value = json.loads(self.body)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    @property
    def form(self) -> dict[str, str]:
        """The body as a form; the first value of each field."""
        return {name: values[0] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()}

    @property
    def bearer(self) -> bool:
        """Whether the bearer token is right."""
        return self.request.headers.get("authorization") == f"Bearer {self.key}"

    def basic(self) -> tuple[str, str]:
        """Name and secret of HTTP Basic; both empty if there are none."""
        kind, _, rest = self.request.headers.get("authorization", "").partition(" ")
        try:
            name, _, secret = base64.b64decode(rest, validate=True).decode().rpartition(":")
        except ValueError:
            return "", ""
        return (name, secret) if kind.lower() == "basic" else ("", "")

    def path(self, name: str) -> str:
        return str(self.request.path_params.get(name, ""))


Handler = Callable[[VendorRequest], Awaitable[Response]]
Refusal = Callable[[int, str], Any]
"""The vendor's error body for a status and a code."""


@dataclass(frozen=True, slots=True)
class Vendor:
    """A vendor: path prefix, routes (method, path, handler) and error body."""

    name: str
    routes: tuple[tuple[str, str, Handler], ...]
    refusal: Refusal


class FaultInjection:
    """Outermost ASGI layer: applies the fault that is queued for a request. Only here can the connection be cut."""

    def __init__(self, inner: ASGIApp, faults: ProviderFaults, vendors: Mapping[str, Vendor]) -> None:
        self._inner, self._faults, self._vendors = inner, faults, vendors
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Release the requests that hang."""
        self._ending.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/_"):
            await self._inner(scope, receive, send)
            return
        provider = scope["path"].split("/")[1]
        body = await read_body(receive)
        fault = self._faults.take(provider, body + scope["path"].encode())

        async def replay() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        if fault is None:
            await self._inner(scope, replay, send)
        else:
            await self._apply(fault, provider, scope, replay, send)

    async def _apply(self, fault: ProviderFault, provider: str, scope: Scope, receive: Receive, send: Send) -> None:
        if fault.kind.endswith("_after_accept") or fault.kind == "garbage":
            await self._inner(scope, receive, discard)
        if fault.kind.startswith("reset"):
            # The only way to cut the connection: uvicorn's `send` is a method of the object that holds it.
            cast("Any", send).__self__.transport.abort()
        elif fault.kind.startswith("hang"):
            await self._ending.wait()
        elif fault.kind == "slow":
            await asyncio.sleep(fault.seconds)
            await self._inner(scope, receive, send)
        elif fault.kind == "garbage":
            await Response("<html>all is well</html>", media_type="text/html")(scope, receive, send)
        else:
            vendor = self._vendors.get(provider)
            content = vendor.refusal(fault.status, fault.code) if vendor is not None else {}
            headers = {"retry-after": str(fault.retry_after)} if fault.retry_after is not None else {}
            await JSONResponse(content, fault.status, headers)(scope, receive, send)


async def read_body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return body
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def discard(_: Any) -> None:
    """Drop a response message."""


class LocalProviderApp:
    """All vendors, over one list of accepted items. `app` is the ASGI application."""

    def __init__(
        self, vendors: tuple[Vendor, ...], folder: Path | None = None, key: str = KEY, token: str | None = None
    ) -> None:
        self.accepted, self.faults, self.key = AcceptedItems(folder), ProviderFaults(), key
        self._token = token
        self.requests: dict[str, int] = {}
        routes = [
            Route("/_health", self._health),
            Route("/_faults", self._guarded(self._set_fault), methods=["POST"]),
            Route("/_faults", self._guarded(self._show_faults), methods=["GET"]),
            Route("/_faults", self._guarded(self._clear), methods=["DELETE"]),
            Route("/_accepted", self._guarded(self._accepted)),
            *(
                Route(f"/{vendor.name}{path}", self._endpoint(vendor.name, handler), methods=[method])
                for vendor in vendors
                for method, path, handler in vendor.routes
            ),
        ]
        self.app = FaultInjection(Starlette(routes=routes), self.faults, {vendor.name: vendor for vendor in vendors})

    def _endpoint(self, name: str, handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            self.requests[name] = self.requests.get(name, 0) + 1
            return await handler(VendorRequest(request, await request.body(), self.accepted, self.key))

        return endpoint

    def _guarded(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The handler, for requests with the token: other users of this machine must not read what people were sent."""

        async def endpoint(request: Request) -> Response:
            given = request.headers.get("authorization", "").removeprefix("Bearer ")
            given = given or request.query_params.get("token", "")
            if self._token is not None and not hmac.compare_digest(given.encode(), self._token.encode()):
                detail = "send the token that `make up` shows: as ?token=, or as Bearer"
                return JSONResponse({"detail": detail}, 401)
            return await handler(request)

        return endpoint

    async def _health(self, _: Request) -> Response:
        return JSONResponse({"accepted": len(self.accepted.items)})

    async def _set_fault(self, request: Request) -> Response:
        try:
            fault = ProviderFault.model_validate_json(await request.body())
        except ValidationError as error:
            return JSONResponse({"detail": str(error)}, 422)
        self.faults.add(fault)
        return JSONResponse(fault.model_dump(), 201)

    async def _show_faults(self, _: Request) -> Response:
        return JSONResponse(self.faults.shown())

    async def _clear(self, _: Request) -> Response:
        self.faults.clear()
        return Response(status_code=204)

    async def _accepted(self, request: Request) -> Response:
        """`?provider=&key=&to=&limit=`: accepted items, newest first."""
        wanted = {name: value for name, value in request.query_params.items() if name != "token"}
        given = wanted.pop("limit", "100")
        limit = int(given) if given.isascii() and given.isdigit() else 100
        return JSONResponse(newest(self.accepted.search(**wanted), limit))
