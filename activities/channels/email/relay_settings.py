"""Settings of an SMTP relay: address, TLS, login, number of connections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PORTS = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}


@dataclass(frozen=True, slots=True)
class SmtpRelay:
    """Where mail goes out. `start_tls`: True demands it, None takes it if offered. `keep` connections stay open."""

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
        """`smtp://` (TLS if offered), `smtp+starttls://` (TLS demanded), `smtps://` (TLS at once), with user:password@."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(
                f"an SMTP address such as smtp://user:password@host:587 is needed, one of {', '.join(_PORTS)}"
            )
        # A password never crosses a network in the clear because someone in between hid STARTTLS.
        far_login = parts.scheme == "smtp" and bool(parts.username) and parts.hostname not in _LOOPBACK
        return cls(
            host=parts.hostname,
            port=parts.port or _PORTS[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            tls=parts.scheme == "smtps",
            start_tls=True if parts.scheme == "smtp+starttls" or far_login else None,
        )
