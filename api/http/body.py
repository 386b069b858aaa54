"""Request bodies: bounded size, decompression, JSON.

What orjson refuses (lone surrogates, NaN, numbers beyond a double, bytes that are not UTF-8) is read once more by the
tolerant parser, so that one bad string in a batch costs its own event and no other; the result is marked `strange`.
"""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.requests import ClientDisconnect, Request

from api.http.problems import ProblemError
from journeys.events.segment import FieldFault

_GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True, slots=True)
class Json:
    """A parsed body. `strange`: it may hold values that cannot be stored as they are."""

    value: Any
    strange: bool


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body, decompressed, of at most `limit` bytes. Raises ProblemError."""
    declared = request.headers.get("content-length", "0")
    if declared.isdigit() and int(declared) > limit:
        raise too_large(limit)
    parts: list[bytes] = []
    size = 0
    try:
        async for part in request.stream():
            size += len(part)
            if size > limit:
                raise too_large(limit)
            parts.append(part)
    except ClientDisconnect as error:
        raise ProblemError("malformed-request", "The body ended before its end.") from error
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    match request.headers.get("content-encoding", "identity").lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return _unzip(body, limit)
        case other:
            raise ProblemError(
                "unsupported-media-type", f"Content-Encoding {other[:40]} is not understood; send gzip or nothing."
            )


def _unzip(body: bytes, limit: int) -> bytes:
    """Decompress no more than the limit: a bomb stops where it would begin to hurt."""
    stream = zlib.decompressobj(_GZIP)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error as error:
        raise ProblemError("malformed-request", "The body is not gzip, although its header says so.") from error
    if len(plain) > limit or stream.unconsumed_tail:
        raise too_large(limit)
    if not stream.eof:
        raise ProblemError("malformed-request", "The compressed body ends in the middle.")
    return plain


def too_large(limit: int) -> ProblemError:
    """413 with the limit in words."""
    return ProblemError("too-large", f"At most {limit // 1024} KB are taken here, after decompression.")


def parse_json(body: bytes) -> Json:
    """JSON of any kind. Raises ProblemError for what no parser can read."""
    try:
        return Json(orjson.loads(body), b"\\u0000" in body)
    except orjson.JSONDecodeError as first:
        try:
            return Json(json.loads(body.decode("utf-8", "surrogateescape"), parse_int=_whole), strange=True)
        except (ValueError, RecursionError):
            where = f"line {first.lineno}, column {first.colno}: {first.msg}"
            raise ProblemError("malformed-request", "The body is not JSON.", [{"detail": where}]) from first


def _whole(digits: str) -> int | float:
    """Integers beyond 64 bits become floats, as orjson reads them; Python itself would take quadratic time."""
    return int(digits) if len(digits) < 19 else float(digits)


def unstorable_values(raw: Any) -> list[FieldFault]:
    """Values that neither PostgreSQL nor JSON can hold (NUL, lone surrogates, NaN, infinity), with their paths; 20 at most."""
    faults: list[FieldFault] = []
    todo: list[tuple[str, Any]] = [("", raw)]
    while todo:
        place, value = todo.pop()
        if isinstance(value, dict):
            for key, inner in value.items():
                flaw = storage_fault(key)
                if flaw:
                    faults.append(FieldFault(place, f"has a key with {flaw}"))
                todo.append((f"{place}/{key}" if place else str(key), inner))
        elif isinstance(value, list):
            todo.extend((f"{place}/{n}", inner) for n, inner in enumerate(value))
        else:
            flaw = storage_fault(value)
            if flaw:
                faults.append(FieldFault(place, f"holds {flaw}"))
    return [FieldFault(_printable(fault.field), fault.message) for fault in faults[:20]]


def storage_fault(value: Any) -> str:
    """The reason why a string or number cannot be stored; empty if it can."""
    if isinstance(value, float) and not math.isfinite(value):
        return "a number that is not finite"
    if isinstance(value, str):
        if "\x00" in value:
            return "the character U+0000"
        if any("\ud800" <= mark <= "\udfff" for mark in value):
            return "a broken character (not UTF-8, or half of a surrogate pair)"
    return ""


def _printable(place: str) -> str:
    return place.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")[:200]
