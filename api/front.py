"""The outermost layer: every request is counted and timed, and an encoded slash stays inside its path segment."""

from __future__ import annotations

import time
from urllib.parse import unquote

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.metrics import Metrics
from api.routes import SLASH


class Front:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        raw: bytes = scope.get("raw_path") or b""
        if b"%2F" in raw or b"%2f" in raw:
            encoded = raw.partition(b"?")[0].replace(b"%2f", b"%2F").decode("ascii", "replace")
            scope["path"] = SLASH.join(unquote(part) for part in encoded.split("%2F"))
        began = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = scope.get("route")
            path = getattr(route, "path", "none")
            self._metrics.answered(path, scope["method"], status, time.perf_counter() - began)
