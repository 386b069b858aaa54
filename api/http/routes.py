"""Routes: each with its scope, documented refusals and a body limit.

`fast` routes bypass FastAPI between request and response: ingestion and the state of a run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi.routing import APIRoute
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from api.http.arrivals import Arrivals
from api.http.auth import KEYLESS, KeyRegistry
from api.http.body import READING, BodyReading, parse_json, read_bytes, unstorable_values
from api.http.clients.client_route import ClientRoute
from api.http.forms import FORM_LIMIT
from api.http.limits import Limits
from api.http.problems import ProblemError, problem_responses, translate
from api.http.wrong_keys import WrongKeys
from journeys.access.callers import KINDS_OF_SCOPE, CallerKind, Scope

SLASH = "\ufdd0"
"""Replaces an encoded slash within a segment (RFC 3986 §2.2), set by `asgi.py`. Unicode never assigns this character."""
BODY_LIMIT = 512 * 1024

_SCHEMES: Mapping[CallerKind, str] = {
    CallerKind.PUBLIC: "publicKey",
    CallerKind.SECRET: "secretKey",
    CallerKind.OPERATOR: "operatorKey",
}
_USUAL = ("malformed-request", "too-large", "late-body", "headers-too-large", "invalid-request", "store-unavailable")
_GUARDED = ("unauthenticated", "forbidden", "quota-exceeded")


class _Segment(StringConvertor):
    """One path segment, in which an encoded slash is part of the value."""

    def convert(self, value: str) -> str:
        return value.replace(SLASH, "/")

    def to_string(self, value: str) -> str:
        return value.replace("/", SLASH)


class _TemplateName(_Segment):
    """A template's name: one encoded segment, or written with its slashes."""

    regex = r"[^/]+(?:/[^/]+){0,3}"


class _RunId(_Segment):
    """A run's id: one encoded segment, or written with its slashes."""

    regex = r"(?:journey/[^/]+/[^/]+/[^/]+/[^/]+|[^/]+)"


register_url_convertor("id", _Segment())
register_url_convertor("run", _RunId())
register_url_convertor("template", _TemplateName())


class _Bounded(Request):
    """Request whose JSON is bounded, decompressed and without values that cannot be stored."""

    def __init__(self, scope: AsgiScope, receive: Receive, limit: int) -> None:
        super().__init__(scope, receive)
        self._limit = limit

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            self._body = await read_bytes(Request(self.scope, self._receive), self._limit)
        return self._body

    async def json(self) -> Any:
        parsed = parse_json(await self.body())
        faults = unstorable_values(parsed.value) if parsed.strange else []
        if faults:
            errors = [{"detail": fault.message, "pointer": f"/{fault.field}"} for fault in faults]
            raise ProblemError("malformed-request", "The body contains values that cannot be stored.", errors)
        return parsed.value


class ScopedRoute(APIRoute):
    """A route with its scope. Made by `Routes.add`, which requires one."""

    def __init__(
        self,
        path: str,
        endpoint: Callable[..., Any],
        *,
        scope: Scope,
        keys: KeyRegistry,
        wrong_keys: WrongKeys,
        arrivals: Arrivals,
        **options: Any,
    ) -> None:
        self.scope = scope
        self._keys, self._wrong_keys, self._arrivals = keys, wrong_keys, arrivals
        self._seconds: float = options.pop("seconds")
        self._body_seconds: float = options.pop("body_seconds")
        self.fast: bool = options.pop("fast")
        self._client: ClientRoute | None = options.pop("client")
        super().__init__(path, endpoint, **options)
        if self.fast:
            self.app = self.handle_directly

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        inner = super().get_route_handler()
        # A stranger's body is parsed before an endpoint can look at its token.
        limit = FORM_LIMIT if self.scope in KEYLESS else BODY_LIMIT

        async def handler(request: Request) -> Response:
            try:
                async with self._time_limit(request.scope):
                    await self._keys.check(request, self.scope)
                    self._refuse_repetitions(request)
                    return await inner(_Bounded(request.scope, request.receive, limit))
            except Exception as error:  # noqa: BLE001 -- the edge: every error becomes a problem here
                return (await self._wrong_keys.delay(request, translate(error))).response()

        return handler

    def _refuse_repetitions(self, request: Request) -> None:
        """Refuse a query parameter that is given twice: no parameter is a list, and FastAPI would take the last one."""
        given = Counter(name for name, _ in request.query_params.multi_items())
        repeated = sorted(field.alias for field in self.dependant.query_params if given[field.alias] > 1)
        if repeated:
            errors = [{"detail": "is given more than once", "pointer": f"/query/{name}"} for name in repeated]
            raise ProblemError("invalid-request", "Give each query parameter once.", errors)

    async def handle_directly(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Handle a request of a fast route: check the key, call the endpoint, send the response."""
        request = Request(scope, receive)
        endpoint: Callable[[Request], Awaitable[Response]] = self.endpoint
        try:
            async with self._time_limit(scope):
                if self._client is not None:
                    await self._client.note_key_in_body(request)
                await self._keys.check(request, self.scope)
                if self._client is not None:
                    self._client.check_origin(request)
                response = await endpoint(request)
        except Exception as error:  # noqa: BLE001 -- the edge: every error becomes a problem here
            response = (await self._wrong_keys.delay(request, translate(error))).response()
        if self._client is not None:
            self._client.mark(request, response)
        await response(scope, receive, send)

    @asynccontextmanager
    async def _time_limit(self, scope: AsgiScope) -> AsyncIterator[None]:
        """The limit of the answer's time. It does not run while the body arrives, which has its own."""
        async with asyncio.timeout(self._seconds) as answer:
            scope[READING] = BodyReading(self._arrivals, self._body_seconds, answer)
            yield


class Routes:
    """Collects the routes of one deployment, with their keys and limits."""

    def __init__(self, keys: KeyRegistry, limits: Limits) -> None:
        self._keys, self._wrong_keys = keys, WrongKeys(limits.wrong_key_seconds)
        self._arrivals, self._body_seconds = Arrivals(limits.arriving_bytes), limits.body_seconds
        self._seconds = limits.patience_seconds
        self.made: list[ScopedRoute] = []

    def add(
        self,
        method: str,
        path: str,
        endpoint: Callable[..., Any],
        scope: Scope,
        *,
        summary: str,
        tag: str,
        gives: Any = None,
        status: int = 200,
        example: Any = None,
        refuses: tuple[str, ...] = (),
        fast: bool = False,
        responses: Mapping[int | str, dict[str, Any]] | None = None,
        extra: Mapping[str, Any] | None = None,
        seconds: float | None = None,
        client: ClientRoute | None = None,
    ) -> None:
        """Add a route. `gives` is the model of its response, `refuses` are kinds of problems beside the usual ones.

        A `client` route, which must be fast, is for browsers and apps.
        """
        kinds = (*_USUAL, *(_GUARDED if scope not in KEYLESS else ()), *refuses)
        documented = problem_responses(*kinds)
        success: dict[str, Any] = {"description": "Done"}
        if gives is not None:
            success["model"] = gives
        if example is not None:
            success["content"] = {"application/json": {"example": example}}
        route = ScopedRoute(
            path,
            endpoint,
            scope=scope,
            keys=self._keys,
            wrong_keys=self._wrong_keys,
            arrivals=self._arrivals,
            body_seconds=self._body_seconds,
            seconds=seconds or self._seconds,
            fast=fast,
            client=client,
            methods=[method],
            status_code=status,
            summary=summary,
            tags=[tag],
            response_model=None,
            response_class=Response,
            responses={**documented, status: success, **(responses or {})},
            openapi_extra={"security": _security(scope), **(extra or {})},
            operation_id=f"{endpoint.__name__}_{tag}".lower().replace(" ", "_"),
        )
        self.made.append(route)


def _security(scope: Scope) -> list[dict[str, list[str]]]:
    """The kinds of keys that open a route, for OpenAPI."""
    if scope in KEYLESS:
        return []
    names = [name for kind, name in _SCHEMES.items() if kind in KINDS_OF_SCOPE[scope]]
    return [{name: []} for name in (*names, "bearer")]
