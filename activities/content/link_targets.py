"""Targets of links in messages: allowed domains and our own pages."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlsplit

from activities.content.liquid import escaped_in_url, unprotected
from activities.ports import TemplateFault
from journeys.content.link_domains import LinkDomains

SCHEMES: Final = ("https", "http", "mailto", "tel")
_UNSAFE: Final = re.compile(r"[\x00-\x20\x7f<>\"\\]")
_NOT_IN_URLS: Final = re.compile(r"[^\x21-\x7e]+")
_AUTHORITY: Final = re.compile(r"(?P<scheme>https?://|mailto:|tel:)(?P<authority>[^/?#]*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LinkTargets:
    """The allowed domains, and the exact URLs of our own pages in this message."""

    domains: LinkDomains = field(default_factory=LinkDomains)
    own: frozenset[str] = frozenset()

    def checked(self, raw: str) -> str:
        """The URL of a rendered link, in which punctuation of values is protected. Raises TemplateFault."""
        url = safe_url(_with_values_escaped(raw.strip()))
        if url in self.own:
            return url
        if reason := self.domains.refusal(url, by_author=_is_written_out(raw.strip())):
            raise TemplateFault(f"a link may not be sent: {reason}")
        return url


def _with_values_escaped(raw: str) -> str:
    """The URL with its values escaped behind the host; one that is a value itself keeps its reserved characters.

    A value in the host is never escaped: it leads to no other host than it says, or is refused.
    """
    written = _AUTHORITY.match(raw)
    if written is not None:
        return unprotected(written[0]) + _in_ascii(escaped_in_url(raw[written.end() :]))
    url = unprotected(raw).strip()
    given = _AUTHORITY.match(url)
    return given[0] + _in_ascii(url[given.end() :]) if given is not None else url


def _in_ascii(part: str) -> str:
    """Blanks, control characters and letters beyond ASCII, percent-encoded as UTF-8 (RFC 3987 §3.1)."""
    return _NOT_IN_URLS.sub(lambda match: quote(match[0]), part)


def _is_written_out(raw: str) -> bool:
    """Whether scheme and host stand in the template: what a value adds has protected punctuation."""
    match = _AUTHORITY.match(raw)
    if match is None:
        return False
    authority = match["authority"].rpartition("@")[2]
    if unprotected(authority) != authority:
        return False
    # A value of letters alone has no punctuation; it makes no host, for a host has a dot.
    return match["scheme"] == "tel:" or "." in authority or authority.partition(":")[0] == "localhost"


def safe_url(url: str) -> str:
    """The URL, stripped. Raises TemplateFault for one that mails may not link to: other schemes, relative, malformed."""
    url = url.strip()
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    named = bool(parts.netloc) if parts.scheme in ("http", "https") else bool(parts.path)
    if parts.scheme not in SCHEMES or not named or _UNSAFE.search(url):
        raise TemplateFault(f"a link must be an absolute {', '.join(SCHEMES)} address")
    return url
