"""Outer ASGI application: request metrics, encoded slashes, direct routes.

Requests to a fast route bypass the framework, whose work around an endpoint costs as much as accepting an event. All other
requests, including other methods on a fast path, are handled by FastAPI.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.metrics import Metrics
from api.http.problems import ProblemError
from api.http.routes import SLASH, ScopedRoute

MAX_HEADERS: Final = 16 * 1024
"""Bytes of path, query and headers together."""
MAX_CONTENT_TYPE: Final = 256
_HEADERS_TOO_LARGE: Final = ProblemError(
    "headers-too-large",
    f"Path, query and headers may have {MAX_HEADERS // 1024} KB together, and the content type {MAX_CONTENT_TYPE} bytes.",
)


class AsgiApp:
    """The ASGI application that the server runs; `app` is the FastAPI application inside it, to which pages may be added.

    `end_streams` ends open streams, which have no end of their own; the server calls it when it stops. `operations` is the
    application of the operations listener.
    """

    def __init__(
        self,
        app: FastAPI,
        routes: Sequence[ScopedRoute],
        metrics: Metrics,
        end_streams: Callable[[], None],
        operations: ASGIApp,
    ) -> None:
        self.app, self.end_streams, self.operations = app, end_streams, operations
        self._metrics = metrics
        fast = [(method, route) for route in routes if route.fast for method in route.methods or ()]
        self._exact = {(method, route.path): route for method, route in fast if "{" not in route.path}
        self._parametrised = [(method, route) for method, route in fast if "{" in route.path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if _are_too_large(scope):
            await _HEADERS_TOO_LARGE.response()(scope, receive, send)
            return
        _keep_slashes(scope)
        began = time.perf_counter()
        status = 500

        async def recording_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            route = self._fast_route(scope)
            if route is not None:
                await route.handle_directly(scope, receive, recording_send)
            else:
                await self.app(scope, receive, recording_send)
        finally:
            path = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(path, scope["method"], status, time.perf_counter() - began)

    def _fast_route(self, scope: Scope) -> ScopedRoute | None:
        method, path = scope["method"], scope["path"]
        matched = self._exact.get((method, path))
        if matched is None:
            for route_method, route in self._parametrised:
                match = route.path_regex.match(path) if route_method == method else None
                if match:
                    convertors = route.param_convertors
                    values = {name: convertors[name].convert(value) for name, value in match.groupdict().items()}
                    scope["path_params"] = values
                    matched = route
                    break
        if matched is not None:
            scope["route"] = matched
        return matched


def _are_too_large(scope: Scope) -> bool:
    """Whether the head of a request is larger than the framework may read: it parses some headers in quadratic time."""
    size = len(scope.get("raw_path") or b"") + len(scope["query_string"])
    for name, value in scope["headers"]:
        size += len(name) + len(value)
        if name == b"content-type" and len(value) > MAX_CONTENT_TYPE:
            return True
    return size > MAX_HEADERS


def _keep_slashes(scope: Scope) -> None:
    raw: bytes = scope.get("raw_path") or b""
    if b"%2F" in raw or b"%2f" in raw:
        encoded = raw.partition(b"?")[0].replace(b"%2f", b"%2F").decode("ascii", "replace")
        scope["path"] = SLASH.join(unquote(part) for part in encoded.split("%2F"))
