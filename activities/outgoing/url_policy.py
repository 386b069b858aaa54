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
    """The URL is not called. The operator's turn: correct the address, or add its host:port to the allow-list."""


@dataclass(frozen=True, slots=True)
class CheckedUrl:
    """A checked URL in parts. `host` is in ASCII, without brackets; `target` is path and query as sent."""

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
        """The `Host` header: the port only where it is not the scheme's own (RFC 9110 §7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = _ORIGIN_PORTS["https" if self.secure else "http"]
        return host if self.port == usual else f"{host}:{self.port}"


def check_url(url: str, allowed: frozenset[str] = frozenset()) -> CheckedUrl:
    """Read and check a URL. `allowed` are the `host:port` that may be inside, plain, and on any port.

    Raises NotAllowed. A name passes here; what it resolves to is checked when it is connected to.
    """
    if len(url) > _LONGEST or not url.isprintable() or any(mark in url for mark in " \\\t"):
        raise UrlNotAllowed("the URL is too long, or holds a space, a backslash or a control character")
    try:
        parts = urlsplit(url)
        port, name = parts.port, parts.hostname
    except ValueError as fault:
        raise UrlNotAllowed(f"the URL cannot be read: {fault}") from None
    if parts.scheme not in _ORIGIN_PORTS:
        raise UrlNotAllowed("only http and https are called")
    if "@" in parts.netloc or not name:
        raise UrlNotAllowed("the URL has no plain host: user and password do not belong into it")
    host = _host(name)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    target += f"?{quote(parts.query, safe='/%:@!$&()*+,;=~-._?')}" if parts.query else ""
    found = CheckedUrl(parts.scheme == "https", host, _ORIGIN_PORTS[parts.scheme] if port is None else port, target)
    if found.origin not in allowed:
        _must_be_public(found)
    return found


def _host(name: str) -> str:
    """In ASCII and small letters, without the root's dot. Raises NotAllowed."""
    name = name.removesuffix(".")
    try:
        if ":" in name:
            return str(ip_address(name))
        # Full-width and circled digits become plain ones here (UTS 46), before anybody asks whether this is a number.
        return name.lower() if name.isascii() and name else idna.encode(name, uts46=True).decode()
    except (ValueError, idna.IDNAError):
        raise UrlNotAllowed("the host is neither a name nor an address") from None


def _must_be_public(found: CheckedUrl) -> None:
    if not found.secure:
        raise UrlNotAllowed(
            "only https is called, except for what the allow-list names: keys would travel in the clear"
        )
    if found.port not in PORTS:
        raise UrlNotAllowed(f"port {found.port} is not one of {', '.join(map(str, sorted(PORTS)))}")
    try:
        address = ip_literal(found.host)
    except ValueError:
        raise UrlNotAllowed("the host is an address in odd notation") from None
    if address is not None and (why := why_not_public(address)):
        raise UrlNotAllowed(f"the address is not public ({why})")
    if address is None and not _is_name(found.host):
        raise UrlNotAllowed("the host is no public name")


def _is_name(host: str) -> bool:
    """A name of the public tree (RFC 1123 §2.1): labels of letters, digits and hyphens, and none of the local ends."""
    labels = host.split(".")
    plain = all(0 < len(each) < 64 and each.replace("-", "a").isalnum() and each.isascii() for each in labels)
    return (
        plain and len(labels) > 1 and labels[-1] not in {"localhost", "local", "internal", "localdomain", "home", "lan"}
    )
