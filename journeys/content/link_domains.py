"""Domains that links in messages may lead to (policy.yaml, `link_domains`).

A value of an event or a profile must not send recipients to a site that the company does not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import unquote, urlsplit

from pydantic import StringConstraints

LinkDomain = Annotated[
    str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?){0,10}$")
]
UNLISTED: Final = "policy.yaml does not list its domain under link_domains"
_WRITTEN: Final = re.compile(r"https?://([^\s/\\\"'<>(){}\[\]?#]{1,300})(?=[\s/\\\"'<>)\]?#]|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class LinkDomains:
    """The listed domains, each with its subdomains. None: every host that the author of a template has written out."""

    listed: tuple[str, ...] | None = None

    def refusal(self, url: str, *, by_author: bool) -> str:
        """Why a message may not link to this URL; empty if it may. `by_author`: the template contains its host."""
        host = _host(url)
        if host is None:
            return "it has a user name, several recipients or no readable host"
        if self.listed is not None and host:
            return "" if self._lists(host) else UNLISTED
        return "" if by_author else f"it comes from a value, and {UNLISTED}"

    def unlisted(self, text: str) -> Iterator[tuple[int, str]]:
        """Line (from 1) and host of each URL in a template's text that leads to an unlisted domain."""
        for number, line in enumerate(text.split("\n"), 1):
            for match in _WRITTEN.finditer(line):
                host = _host(f"https://{match[1]}")
                if host is None or not self._lists(host):
                    yield number, match[1]

    def _lists(self, host: str) -> bool:
        if self.listed is None:
            return True
        return any(host == domain or host.endswith(f".{domain}") for domain in self.listed)


def _host(url: str) -> str | None:
    """The host of a web URL, or the domain of a mail address; empty for a telephone number, None if it is unclear."""
    try:
        parts = urlsplit(url)
        host, user = parts.hostname or "", parts.username
    except ValueError:
        return None
    if parts.scheme == "tel":
        return ""
    if parts.scheme == "mailto":
        fields = {field.partition("=")[0].lower() for field in parts.query.split("&") if field}
        local, _, domain = unquote(parts.path).rpartition("@")
        return domain.lower() if not {",", ";", "@"} & set(local) and fields <= {"subject", "body"} else None
    return host.removesuffix(".") if host and user is None else None
