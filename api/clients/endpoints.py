"""Endpoints for analytics libraries in browsers and apps, beside those that take events.

The libraries' open source code defines the paths: `GET /v1/projects/{writeKey}/settings`, and `POST /v1/m` for metrics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response

from api.clients.schemas import ClientPreflight, LibrarySettings, MetricsResult
from api.http.auth import KeyRegistry
from api.http.clients.client_route import ClientRoute
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import CallerKind, Scope
from journeys.events.segment import BATCH_NAMES, CALL_NAMES

TAG: Final = "Browsers and apps"
METRICS: Final = "m"
SETTINGS_SECONDS: Final = 300
"""Time for which a browser keeps its settings."""
_NO_PUBLIC_KEY: Final = "This is no public key in force. `python -m cli keys --make website --kind public` makes one."
_CALLS: Final = (*CALL_NAMES, *BATCH_NAMES, METRICS)
_MEDIA_TYPE: Final = "application/json"
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,253}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


class _Call(StringConvertor):
    """The last part of the path of a call."""

    regex = "|".join(_CALLS)


class _Key(StringConvertor):
    """A key in a path: the characters of `store/access/keys.py`, and a few more."""

    regex = "[A-Za-z0-9._~-]{1,128}"


register_url_convertor("call", _Call())
register_url_convertor("key", _Key())


@dataclass(frozen=True, slots=True)
class ClientRoutes:
    """Routes for analytics libraries. `public_url` is the address at which they reach the API, if it is set."""

    keys: KeyRegistry
    route: ClientRoute
    public_url: str | None

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.ANYONE, tag=TAG, fast=True, client=self.route, refuses=("not-found",))
        add(
            "OPTIONS",
            "/v1/{call:call}",
            self.preflight_call,
            summary="CORS preflight of a call",
            gives=ClientPreflight,
            extra=_path_parameter("call", {"enum": list(_CALLS)}),
        )
        add("POST", f"/v1/{METRICS}", self.take_metrics, summary="Metrics of a library", gives=MetricsResult)
        path = "/v1/projects/{key:key}/settings"
        named = _path_parameter("key", {"pattern": f"^{_Key.regex}$", "description": "A public key."})
        add("GET", path, self.settings, summary="Settings of a library", gives=LibrarySettings, extra=named)
        add("OPTIONS", path, self.preflight_settings, summary="CORS preflight", gives=ClientPreflight, extra=named)

    async def preflight_call(self, request: Request) -> Response:
        return self._preflight(request)

    async def preflight_settings(self, request: Request) -> Response:
        return self._preflight(request)

    async def take_metrics(self, _: Request) -> Response:
        """A library counts its own calls and errors. They are not read."""
        return Response(MetricsResult().model_dump_json(), media_type=_MEDIA_TYPE)

    async def settings(self, request: Request) -> Response:
        """The settings of a public key. Secret keys have none: a key in a path is in the logs of every proxy."""
        secret = request.path_params["key"]
        key = await self.keys.find(secret)
        if key is None or key.kind is not CallerKind.PUBLIC:
            raise ProblemError("not-found", _NO_PUBLIC_KEY)
        view = LibrarySettings.of(secret, *self._address(request))
        headers = {"Cache-Control": f"private, max-age={SETTINGS_SECONDS}"}
        return Response(orjson.dumps(view.model_dump(by_alias=True)), headers=headers, media_type=_MEDIA_TYPE)

    def _address(self, request: Request) -> tuple[str, str]:
        """Scheme of the API, and its host with the path before the calls: the public one, else that of the request."""
        if self.public_url is not None:
            public = urlsplit(self.public_url)
            return public.scheme, f"{public.netloc}{public.path.rstrip('/')}/v1"
        host = request.headers.get("host", "")
        if not _HOST.fullmatch(host):
            raise ProblemError("malformed-request", "The header Host names no host.")
        return request.scope["scheme"], f"{host}/v1"

    def _preflight(self, request: Request) -> Response:
        headers = self.route.origins.preflight_headers(request.headers.get("origin"))
        body = ClientPreflight(allowed=bool(headers)).model_dump_json()
        return Response(body, headers=dict(headers), media_type=_MEDIA_TYPE)


def _path_parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"parameters": [{"name": name, "in": "path", "required": True, "schema": {"type": "string", **schema}}]}
