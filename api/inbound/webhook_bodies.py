"""Bodies of webhooks: a form or a JSON object, read strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from api.http.body import parse_json
from api.http.problems import ProblemError


def twilio_form(body: bytes) -> dict[str, str]:
    """The fields of a call. Raises ProblemError for too many, and for one that comes twice: the signature covers one."""
    try:
        pairs = parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=200)
    except ValueError as error:
        raise ProblemError("malformed-request", "The form has too many fields.") from error
    if len({name for name, _ in pairs}) < len(pairs):
        raise ProblemError("malformed-request", "The form has a field twice.")
    return dict(pairs)


def object_body(body: bytes) -> Mapping[str, Any]:
    parsed = parse_json(body)
    if not isinstance(parsed.value, dict) or parsed.strange:
        raise ProblemError("malformed-request", "The body must be a JSON object without values that cannot be stored.")
    return parsed.value
