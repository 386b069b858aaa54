"""Forms in bodies, urlencoded or multipart: parsed in time linear in their size.

The standard library's `email` parser is quadratic in some inputs and recursive, so it reads nothing that a stranger sends to a
route.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qs

from starlette.requests import Request

from api.http.body import read_bytes
from api.http.problems import ProblemError

FORM_LIMIT: Final = 16 * 1024
"""Bytes of a form after decompression."""
MAX_FIELDS: Final = 1_000
_CONTENT_TYPE: Final = 200
"""Characters of a content type that are read; a boundary has at most 70 (RFC 2046 §5.1.1)."""
_BOUNDARY: Final = re.compile(r"[;\s]boundary=(?:\"([^\"]{1,70})\"|([^\s\";,]{1,70}))", re.IGNORECASE)
_NAME: Final = re.compile(rb"[;\s]name=(?:\"([^\"\r\n]{1,200})\"|([^\s\";,]{1,200}))", re.IGNORECASE)
_HEAD: Final = 1_000
"""Bytes of a part's headers that are read."""


async def read_form(request: Request) -> dict[str, list[str]]:
    """Fields of a form (RFC 8058 §3.2 allows both encodings). Raises ProblemError for other and for larger bodies."""
    return parse_form(request.headers.get("content-type", ""), await read_bytes(request, FORM_LIMIT))


def parse_form(content_type: str, body: bytes) -> dict[str, list[str]]:
    """Fields of a form with their values in order. Raises ProblemError if it cannot be read."""
    try:
        if content_type.lower().startswith("multipart/form-data"):
            return _multipart(content_type[:_CONTENT_TYPE], body)
        return parse_qs(body.decode("utf-8"), max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise ProblemError("malformed-request", "The form cannot be read.") from error


def _multipart(content_type: str, body: bytes) -> dict[str, list[str]]:
    """Fields of a multipart body (RFC 7578). Raises ValueError without a boundary, or for too many or unreadable parts."""
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise ValueError("it names no boundary")
    delimiter = b"--" + (boundary[1] or boundary[2]).encode("latin-1")
    parts = body.split(delimiter, MAX_FIELDS + 1)
    if len(parts) > MAX_FIELDS + 1:
        raise ValueError("it has too many parts")
    fields: dict[str, list[str]] = {}
    for part in parts[1:]:
        if part.startswith(b"--"):
            break
        head, _, content = part.partition(b"\r\n\r\n")
        name = _NAME.search(head[:_HEAD])
        if name is not None:
            value = content.removesuffix(b"\r\n").decode("utf-8")
            fields.setdefault((name[1] or name[2]).decode("utf-8"), []).append(value)
    return fields
