"""Refusals as `application/problem+json` (RFC 9457).

Errors are translated here, once: `ProblemError` unchanged, outages of the store to 503, a test clock that advances to
409, FastAPI's validation errors to 422,
and any other error to a 500 without internal details.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson
import structlog
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from store.availability import log_outage
from store.errors import ClockAdvancing, is_outage, is_refusal

log = structlog.get_logger()

MEDIA_TYPE = "application/problem+json"
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
PREFIX = "urn:tenure:problem:"

ProblemTurn = Literal["caller", "author", "operator", "tenure"]


@dataclass(frozen=True, slots=True)
class ProblemKind:
    """A kind of refusal. `turn` names who can correct it."""

    name: str
    status: int
    title: str
    turn: ProblemTurn
    retry_after: int | None = None

    @property
    def type(self) -> str:
        return QUOTA_EXCEEDED if self.name == "quota-exceeded" else PREFIX + self.name


KINDS: Mapping[str, ProblemKind] = {
    kind.name: kind
    for kind in (
        ProblemKind("malformed-request", 400, "The request cannot be read", "caller"),
        ProblemKind("malformed-event", 400, "The event is malformed", "caller"),
        ProblemKind("unauthenticated", 401, "A valid key is required", "caller"),
        ProblemKind("forbidden", 403, "The key does not allow this", "caller"),
        ProblemKind("not-found", 404, "Not found", "caller"),
        ProblemKind("method-not-allowed", 405, "The method is not allowed", "caller"),
        ProblemKind("late-body", 408, "The body did not arrive in time", "caller"),
        ProblemKind("conflict", 409, "The current state does not allow this", "caller"),
        ProblemKind("clock-advancing", 409, "The test clock advances", "tenure", retry_after=1),
        ProblemKind("gone", 410, "It has expired", "caller"),
        ProblemKind("precondition-failed", 412, "It has changed in the meantime", "caller"),
        ProblemKind("too-large", 413, "The request is too large", "caller"),
        ProblemKind("headers-too-large", 431, "The headers are too large", "caller"),
        ProblemKind("unsupported-media-type", 415, "The encoding is not supported", "caller"),
        ProblemKind("invalid-request", 422, "The request is invalid", "caller"),
        ProblemKind("invalid-journey", 422, "The definition cannot be published", "author"),
        ProblemKind("invalid-catalogue", 422, "The catalogue cannot be published", "author"),
        ProblemKind("quota-exceeded", 429, "Too many requests", "caller", retry_after=1),
        ProblemKind("internal-error", 500, "Unexpected error", "tenure"),
        ProblemKind("overloaded", 503, "Too many accepted events are waiting", "operator", retry_after=30),
        ProblemKind("store-unavailable", 503, "The database does not answer", "operator", retry_after=2),
        ProblemKind("engine-unavailable", 503, "Temporal does not answer", "operator", retry_after=2),
    )
}
_BY_STATUS: Mapping[int, str] = {
    400: "malformed-request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    408: "late-body",
    413: "too-large",
    415: "unsupported-media-type",
}


class FaultView(BaseModel):
    """A fault: `pointer` is its place, `turn` names who can correct it."""

    detail: str
    pointer: str = ""
    turn: ProblemTurn = "caller"
    code: str | None = None
    line: int | None = None
    column: int | None = None
    harm: str | None = None
    mend: str | None = None


class ProblemDocument(BaseModel):
    """Body of every refusal (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    turn: ProblemTurn
    errors: list[FaultView] = []


class ProblemError(HTTPException):
    """A refusal of a request; `errors` has each fault."""

    def __init__(
        self, kind: str, detail: str, errors: Sequence[Mapping[str, Any]] = (), headers: Mapping[str, str] | None = None
    ) -> None:
        self.kind = KINDS[kind]
        self.errors = errors
        super().__init__(self.kind.status, detail, dict(headers or {}))

    def response(self) -> Response:
        headers = dict(self.headers or {})
        if self.kind.retry_after is not None:
            headers.setdefault("Retry-After", str(self.kind.retry_after))
        if self.kind.status == 401:
            headers["WWW-Authenticate"] = 'Basic realm="Tenure", charset="UTF-8"'
        turn = self.kind.turn
        document = {
            "type": self.kind.type,
            "title": self.kind.title,
            "status": self.kind.status,
            "detail": self.detail,
            "turn": turn,
            "errors": [{"turn": turn, **error} for error in self.errors],
        }
        return Response(orjson.dumps(document), self.kind.status, headers, MEDIA_TYPE)


def pointer(path: Sequence[Any]) -> str:
    """A JSON pointer (RFC 6901) from a path."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def translate(error: Exception) -> ProblemError:
    """The refusal for an exception. Total: an unknown exception becomes an internal error and is logged."""
    match error:
        case ProblemError():
            return error
        case ClockAdvancing():
            return _clock_advancing(error)
        case RequestValidationError():
            errors = [{"detail": str(e["msg"]), "pointer": pointer(e["loc"])} for e in error.errors()]
            return ProblemError("invalid-request", f"Invalid values: {len(errors)}.", errors)
        case HTTPException():
            kind = _BY_STATUS.get(error.status_code, "malformed-request")
            return ProblemError(kind, str(error.detail), headers=error.headers)
        case TimeoutError():
            return ProblemError("store-unavailable", "The request took too long. Send it again.")
        case _ if is_outage(error):
            log_outage("api.store_unavailable", error)
            return ProblemError("store-unavailable", "The database failed during the request. Send it again.")
        case _ if is_refusal(error):
            return ProblemError("invalid-request", "A value cannot be stored.")
        case _:
            log.error("api.unforeseen", exc_info=error)
            return ProblemError("internal-error", "The error was logged. Sending the same request again is safe.")


def _clock_advancing(error: ClockAdvancing) -> ProblemError:
    words = str(error)
    turn: ProblemTurn = "operator" if error.error else "tenure"
    fault = {
        "detail": "send the request again when the clock is ready",
        "pointer": f"/clocks/{error.clock}",
        "turn": turn,
    }
    return ProblemError("clock-advancing", f"{words[:1].upper()}{words[1:]}. Nothing was stored.", [fault])


async def refuse(_: Request, error: Exception) -> Response:
    """FastAPI's handler for every exception."""
    return translate(error).response()


def problem_responses(*kinds: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI responses of these kinds, each with an example."""
    responses: dict[int | str, dict[str, Any]] = {}
    for name in kinds:
        kind = KINDS[name]
        entry = responses.setdefault(kind.status, {"description": kind.title, "content": {MEDIA_TYPE: {}}})
        media = entry["content"][MEDIA_TYPE]
        media["schema"] = {"$ref": "#/components/schemas/ProblemDocument"}
        examples = media.setdefault("examples", {})
        examples[name] = {"value": _example(kind)}
        if kind.retry_after is not None:
            entry["headers"] = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds to wait."}}
    return responses


def _example(kind: ProblemKind) -> dict[str, Any]:
    return {
        "type": kind.type,
        "title": kind.title,
        "status": kind.status,
        "detail": "The reason, in a sentence.",
        "turn": kind.turn,
        "errors": [{"turn": kind.turn, "detail": "must be a JSON object", "pointer": "/properties"}],
    }
