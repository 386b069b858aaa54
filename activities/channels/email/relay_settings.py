"""Settings of an SMTP relay: address, TLS, login, number of connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class SmtpRelay:
    """An SMTP relay.

    `start_tls`: True requires STARTTLS, None uses it if offered. Up to `keep` connections stay open, for `mails_each` mails and
    `idle_seconds` each; opening one may take `open_seconds`.
    """

    host: str = "localhost"
    port: int = 25
    username: str | None = None
    password: str | None = None
    tls: bool = False
    start_tls: bool | None = None
    keep: int = 4
    mails_each: int = 100
    idle_seconds: float = 30.0
    open_seconds: float = 30.0

    @classmethod
    def from_url(cls, url: str) -> Self:
        """`smtp://` (TLS if offered), `smtp+starttls://` (TLS required) or `smtps://` (TLS from the start), with user:password@.

        Raises ValueError.
        """
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(f"give an SMTP URL such as smtp://user:password@host:587, with {', '.join(_PORTS)}")
        # STARTTLS is required for a password over a network: an attacker could hide that it is offered.
        remote_login = parts.scheme == "smtp" and bool(parts.username) and parts.hostname not in _LOOPBACK
        return cls(
            host=parts.hostname,
            port=parts.port or _PORTS[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "smtps",
            start_tls=True if parts.scheme == "smtp+starttls" or remote_login else None,
        )
