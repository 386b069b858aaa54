"""Origins of pages that may call from browsers, and headers of CORS.

No cookie is read, so answers never allow credentials (Fetch standard, CORS protocol).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

ANY: Final = "*"
MAX_AGE: Final = 7_200
"""Seconds that a browser keeps the answer to a preflight; Chromium keeps none longer."""
_HEADERS: Final = "Authorization, Content-Type, Content-Encoding, X-Retry-Count, Traceparent, Tracestate, Baggage"
"""Headers of analytics libraries, and of tools that trace a page's requests (W3C Trace Context, Baggage)."""
_EXPOSED: Final = "Retry-After, X-Tenure-Trace"
"""Headers that a page may read. Without `Retry-After` its library would guess when to send again."""


class BrowserOrigins:
    """The origins of one deployment's pages, as browsers send them; `*` is every origin."""

    def __init__(self, origins: Sequence[str]) -> None:
        self._origins = frozenset(origins)

    def allows(self, origin: str | None) -> bool:
        """Whether a request with this `Origin` header may come from a browser. Without one it comes from none."""
        return origin is None or ANY in self._origins or origin in self._origins

    def answer_headers(self, origin: str | None) -> Mapping[str, str]:
        """Headers of every answer, refusals too, so that the page can read it."""
        if ANY in self._origins:
            return {"Access-Control-Allow-Origin": ANY, "Access-Control-Expose-Headers": _EXPOSED}
        common = {"Vary": "Origin"}
        if origin is None or origin not in self._origins:
            return common
        return {**common, "Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": _EXPOSED}

    def preflight_headers(self, origin: str | None) -> Mapping[str, str]:
        """Headers that a preflight is answered with beside those of every answer; empty for another origin."""
        if origin is None or not self.allows(origin):
            return {}
        return {
            "Access-Control-Allow-Methods": "GET, POST",
            "Access-Control-Allow-Headers": _HEADERS,
            "Access-Control-Max-Age": str(MAX_AGE),
        }
