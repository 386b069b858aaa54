"""Request bodies: bounded size and time, decompression, JSON.

Bodies that orjson rejects (lone surrogates, NaN, numbers beyond a double, bytes that are not UTF-8) are parsed again by the
tolerant `json` module and marked `strange`, so that one bad string in a batch rejects only its own event.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import orjson
from starlette.requests import ClientDisconnect, Request

from api.http.arrivals import Arrivals, Owner
from api.http.auth import key_of
from api.http.networks import network_of, site_of
from api.http.problems import ProblemError
from journeys.access.callers import CallerKind
from journeys.events.segment import FieldFault

_GZIP = 16 + zlib.MAX_WBITS
_AT_ONCE: Final = 0.0
"""An instant of the event loop's clock that is past."""
READING: Final = "tenure.reading"
"""The entry of a request's ASGI scope that has its `BodyReading`."""
_RECEIVED: Final = "tenure.received-body"
"""The entry of a request's ASGI scope that has a body which was read for its key."""


@dataclass(frozen=True, slots=True)
class BodyReading:
    """How a body is read: where its bytes are counted, in how many seconds, and the time limit of the answer."""

    arrivals: Arrivals
    seconds: float
    answer: asyncio.Timeout


@dataclass(frozen=True, slots=True)
class Json:
    """A parsed body. `strange`: it may contain values that cannot be stored."""

    value: Any
    strange: bool


@dataclass(slots=True)
class ReceivedBody:
    """A body that has arrived, decompressed; it is parsed once, when it is first asked for."""

    content: bytes
    _json: Json | None = None

    def json(self) -> Json:
        """The body as JSON. Raises ProblemError if it is none."""
        if self._json is None:
            self._json = parse_json(self.content)
        return self._json


async def received_body(request: Request, limit: int) -> ReceivedBody:
    """The body, read now unless it was read for its key. Raises ProblemError as `read_bytes` does."""
    received: ReceivedBody | None = request.scope.get(_RECEIVED)
    if received is None:
        received = request.scope[_RECEIVED] = ReceivedBody(await read_bytes(request, limit))
    return received


async def read_bytes(request: Request, limit: int) -> bytes:
    """The decompressed body.

    Raises ProblemError if it is larger than `limit` bytes, late, incomplete or not decodable.
    """
    if declared_size(request) > limit:
        raise too_large(limit)
    body = await _arrived(request, limit)
    match request.headers.get("content-encoding", "identity").lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return _unzip(body, limit)
        case other:
            raise ProblemError(
                "unsupported-media-type", f"Content-Encoding {other[:40]} is not supported; send gzip or no encoding."
            )


def declared_size(request: Request) -> int:
    """The bytes that a request says its body has, before decompression; 0 if it does not say."""
    declared = request.headers.get("content-length", "0")
    return int(declared[:19]) if declared.isascii() and declared.isdigit() else 0


async def _arrived(request: Request, limit: int) -> bytes:
    reading: BodyReading = request.scope[READING]
    arrivals = reading.arrivals
    parts: list[bytes] = []
    async with _limited(reading) as time:
        arrival = arrivals.begin(_owner_of(request), partial(end_at_once, time))
        try:
            async for part in request.stream():
                arrivals.grow(arrival, len(part))
                if arrival.bytes > limit:
                    raise too_large(limit)
                parts.append(part)
        except ClientDisconnect as error:
            raise ProblemError("malformed-request", "The connection ended before the body was complete.") from error
        finally:
            arrivals.end(arrival)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def end_at_once(time: asyncio.Timeout) -> None:
    """End a body's time now. It may have expired already, and then it cannot be changed any more."""
    with contextlib.suppress(RuntimeError):
        time.reschedule(_AT_ONCE)


@asynccontextmanager
async def _limited(reading: BodyReading) -> AsyncIterator[asyncio.Timeout]:
    """The time limit of a body. That of the answer stands still meanwhile: a slow sender is not the database's fault.

    Raises ProblemError: 408 for a late body, 429 for one that has to give way.
    """
    clock, began = asyncio.get_running_loop().time, asyncio.get_running_loop().time()
    answer_at = reading.answer.when()
    reading.answer.reschedule(None)
    try:
        async with asyncio.timeout(reading.seconds) as limit:
            yield limit
    except TimeoutError:
        if limit.when() == _AT_ONCE:
            raise ProblemError(
                "quota-exceeded", "Too many bodies arrive slowly, and this one has to give way."
            ) from None
        raise ProblemError("late-body", f"The body was not complete within {reading.seconds:g} s.") from None
    finally:
        if answer_at is not None:
            reading.answer.reschedule(answer_at + clock() - began)


def _owner_of(request: Request) -> Owner:
    """A secret or operator's key; a public key in one network; without a key the network."""
    key, network = key_of(request), network_of(request)
    if key is not None and key.kind is not CallerKind.PUBLIC:
        return key.id, ""
    return key.id if key is not None else "", site_of(network) or network


def _unzip(body: bytes, limit: int) -> bytes:
    """Decompress at most `limit` bytes, which stops a decompression bomb."""
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise ProblemError("malformed-request", "Content-Encoding is gzip, but the body is not.") from error
    if len(plain) > limit or stream.unconsumed_tail:
        raise too_large(limit)
    if not stream.eof:
        raise ProblemError("malformed-request", "The compressed body is incomplete.")
    return plain


def too_large(limit: int) -> ProblemError:
    """The 413, with the limit."""
    return ProblemError("too-large", f"The body may have at most {limit // 1024} KB after decompression.")


def parse_json(body: bytes) -> Json:
    """Parse JSON of any type. Raises ProblemError if no parser can read it."""
    try:
        return Json(orjson.loads(body), b"\\u0000" in body)
    except orjson.JSONDecodeError as error:
        try:
            return Json(json.loads(body.decode("utf-8", "surrogateescape"), parse_int=_whole), strange=True)
        except (ValueError, RecursionError):
            detail = f"line {error.lineno}, column {error.colno}: {error.msg}"
            raise ProblemError("malformed-request", "The body is not JSON.", [{"detail": detail}]) from error


def _whole(digits: str) -> int | float:
    """Integers beyond 64 bits become floats, as orjson reads them; Python itself would take quadratic time."""
    return int(digits) if len(digits) < 19 else float(digits)


def unstorable_values(raw: Any) -> list[FieldFault]:
    """Values that neither PostgreSQL nor JSON can hold (NUL, lone surrogates, NaN, infinity), with their paths; 20 at most."""
    faults: list[FieldFault] = []
    pending: list[tuple[str, Any]] = [("", raw)]
    while pending:
        path, value = pending.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                flaw = storage_fault(key)
                if flaw:
                    faults.append(FieldFault(path, f"has a key with {flaw}"))
                pending.append((f"{path}/{key}" if path else str(key), inner))
        elif isinstance(value, list):
            pending.extend((f"{path}/{n}", inner) for n, inner in enumerate(value))
        else:
            flaw = storage_fault(value)
            if flaw:
                faults.append(FieldFault(path, f"contains {flaw}"))
    return [FieldFault(_printable(fault.field), fault.message) for fault in faults[:20]]


def storage_fault(value: Any) -> str:
    """The reason why a string or number cannot be stored; empty if it can."""
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is not finite"
    if isinstance(value, str):
        if "\x00" in value:
            return "the character U+0000"
        if any("\ud800" <= character <= "\udfff" for character in value):
            return "a broken character (not UTF-8, or half of a surrogate pair)"
    return ""


def _printable(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")[:200]
