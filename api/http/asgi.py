"""Outer ASGI application: request metrics, encoded slashes, direct routes.

A fast route's request passes nothing of the framework: what FastAPI and Starlette do around an endpoint costs as much as
accepting an event. Everything else, also another method on a fast path, goes the usual way.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from urllib.parse import unquote

from fastapi import FastAPI
from starlette.types import Message, Receive, Scope, Send

from api.http.metrics import Metrics
from api.http.routes import SLASH, ScopedRoute


class AsgiApp:
    """The ASGI application that the server runs; `app` is the one behind it, to which pages may be added.

    `leave` ends what would go on for as long as its client likes; the server calls it when it is told to stop.
    """

    def __init__(
        self, app: FastAPI, routes: Sequence[ScopedRoute], metrics: Metrics, leave: Callable[[], None]
    ) -> None:
        self.app, self.leave = app, leave
        self._metrics = metrics
        fast = [(method, route) for route in routes if route.fast for method in route.methods or ()]
        self._exact = {(method, route.path): route for method, route in fast if "{" not in route.path}
        self._shaped = [(method, route) for method, route in fast if "{" in route.path]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        _keep_slashes(scope)
        began = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            route = self._straight(scope)
            if route is not None:
                await route.straight(scope, receive, watched)
            else:
                await self.app(scope, receive, watched)
        finally:
            path = getattr(scope.get("route"), "path", "none")
            self._metrics.answered(path, scope["method"], status, time.perf_counter() - began)

    def _straight(self, scope: Scope) -> ScopedRoute | None:
        method, path = scope["method"], scope["path"]
        found = self._exact.get((method, path))
        if found is None:
            for wanted, route in self._shaped:
                match = route.path_regex.match(path) if wanted == method else None
                if match:
                    convertors = route.param_convertors
                    values = {name: convertors[name].convert(value) for name, value in match.groupdict().items()}
                    scope["path_params"] = values
                    found = route
                    break
        if found is not None:
            scope["route"] = found
        return found


def _keep_slashes(scope: Scope) -> None:
    raw: bytes = scope.get("raw_path") or b""
    if b"%2F" in raw or b"%2f" in raw:
        encoded = raw.partition(b"?")[0].replace(b"%2f", b"%2F").decode("ascii", "replace")
        scope["path"] = SLASH.join(unquote(part) for part in encoded.split("%2F"))
