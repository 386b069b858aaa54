"""URL policy of outgoing requests: scheme, host, port, no credentials."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import quote, urlsplit

import idna

from activities.outgoing.public_addresses import ip_literal, why_not_public

PORTS = frozenset({80, 443, 8443})
_ORIGIN_PORTS = {"http": 80, "https": 443}
_LONGEST = 4_096


class UrlNotAllowed(ValueError):
    """The URL is not allowed. The operator's turn: correct it, or add its host:port to TENURE_OUTGOING_ALLOW."""


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """Parts of a checked URL. `host` is ASCII without brackets; `target` is path and query as sent."""

    secure: bool
    host: str
    port: int
    target: str

    @property
    def origin(self) -> str:
        """`host:port`, as the allow-list names it."""
        return f"{self.host}:{self.port}"

    @property
    def authority(self) -> str:
        """Value of the `Host` header, with the port unless it is the scheme's default (RFC 9110 §7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = _ORIGIN_PORTS["https" if self.secure else "http"]
        return host if self.port == usual else f"{host}:{self.port}"


def check_url(url: str, allowed: frozenset[str] = frozenset()) -> CheckedUrl:
    """Parse and check a URL. Origins in `allowed` (`host:port`) may be private, use http, and any port.

    The addresses of a name are checked when it is connected to. Raises UrlNotAllowed.
    """
    if len(url) > _LONGEST or not url.isprintable() or any(mark in url for mark in " \\\t"):
        raise UrlNotAllowed("the URL is too long, or contains a space, a backslash or a control character")
    try:
        parts = urlsplit(url)
        port, name = parts.port, parts.hostname
    except ValueError as error:
        raise UrlNotAllowed(f"the URL cannot be read: {error}") from None
    if parts.scheme not in _ORIGIN_PORTS:
        raise UrlNotAllowed("only http and https URLs are allowed")
    if "@" in parts.netloc or not name:
        raise UrlNotAllowed("the URL has no host, or contains a user name")
    host = _host(name)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    target += f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else ""
    checked = CheckedUrl(parts.scheme == "https", host, _ORIGIN_PORTS[parts.scheme] if port is None else port, target)
    if checked.origin not in allowed:
        _require_public(checked)
    return checked


def _host(name: str) -> str:
    """The host in lower-case ASCII, without a trailing dot. Raises UrlNotAllowed."""
    name = name.removesuffix(".")
    try:
        if ":" in name:
            return str(ip_address(name))
        # Full-width and circled digits become ASCII here (UTS 46), before the host is checked for a number.
        return name.lower() if name.isascii() and name else idna.encode(name, uts46=True).decode()
    except (ValueError, idna.IDNAError):
        raise UrlNotAllowed("the host is neither a name nor an IP address") from None


def _require_public(url: CheckedUrl) -> None:
    if not url.secure:
        raise UrlNotAllowed(
            "only https is allowed, except for origins on the allow-list: keys would travel in clear text"
        )
    if url.port not in PORTS:
        raise UrlNotAllowed(f"port {url.port} is not one of {', '.join(map(str, sorted(PORTS)))}")
    try:
        address = ip_literal(url.host)
    except ValueError:
        raise UrlNotAllowed("the host is an IP address in an unusual notation") from None
    if address is not None and (reason := why_not_public(address)):
        raise UrlNotAllowed(f"the address is not public ({reason})")
    if address is None and not _is_name(url.host):
        raise UrlNotAllowed("the host is not a public name")


def _is_name(host: str) -> bool:
    """Whether this is a public name (RFC 1123 §2.1): labels of letters, digits and hyphens, no local domain."""
    labels = host.split(".")
    plain = all(0 < len(label) < 64 and label.replace("-", "a").isalnum() and label.isascii() for label in labels)
    return (
        plain and len(labels) > 1 and labels[-1] not in {"localhost", "local", "internal", "localdomain", "home", "lan"}
    )
