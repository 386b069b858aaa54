"""Request bodies: bounded size, decompression, JSON.

Bodies that orjson rejects (lone surrogates, NaN, numbers beyond a double, bytes that are not UTF-8) are parsed again by the
tolerant `json` module and marked `strange`, so that one bad string in a batch rejects only its own event.
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
    """A parsed body. `strange`: it may contain values that cannot be stored."""

    value: Any
    strange: bool


async def read_bytes(request: Request, limit: int) -> bytes:
    """The decompressed body. Raises ProblemError if it is larger than `limit` bytes, incomplete or not decodable."""
    declared = request.headers.get("content-length", "0")
    if declared.isascii() and declared.isdigit() and int(declared[:19]) > limit:
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
        raise ProblemError("malformed-request", "The connection ended before the body was complete.") from error
    body = parts[0] if len(parts) == 1 else b"".join(parts)
    match request.headers.get("content-encoding", "identity").lower():
        case "identity" | "":
            return body
        case "gzip" | "x-gzip":
            return _unzip(body, limit)
        case other:
            raise ProblemError(
                "unsupported-media-type", f"Content-Encoding {other[:40]} is not supported; send gzip or no encoding."
            )


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
