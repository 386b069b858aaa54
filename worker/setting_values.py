"""Checks and conversions of single setting values: URLs, addresses, keys, hosts.

Each check raises ValueError whose message follows the variable's name: "TENURE_SMTP_URL: is not an SMTP URL; …".
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import SecretStr, ValidationError

from activities.channels.email.relay_settings import SmtpRelay
from journeys.tokens.reply_addresses import ReplyAddresses
from journeys.tokens.signed_links import Links
from worker.payload_keys import read_payload_keys

MIN_API_KEY: Final = 24
"""Characters of a write or operator key where others reach the API."""
MIN_SECRET: Final = 32
"""Characters of a signing key. Anyone with one link can try keys offline."""


def database_url(url: str) -> str:
    """A PostgreSQL URL of any common scheme, with the driver's name."""
    scheme, _, rest = url.partition("://")
    if scheme not in {"postgres", "postgresql", "postgresql+asyncpg"} or not rest:
        raise ValueError("is not a PostgreSQL URL; give postgresql://user:password@host:5432/database")
    return f"postgresql+asyncpg://{rest}"


def host_and_port(address: str) -> str:
    """An address that ends in a port."""
    if not address.rpartition(":")[2].isdecimal():
        raise ValueError("has no port; give host:7233")
    return address


def smtp_url(url: str) -> str:
    """The URL of an SMTP relay."""
    try:
        SmtpRelay.from_url(url)
    except ValueError:
        forms = "smtp://host:port, smtp+starttls:// or smtps://user:password@host:port"
        raise ValueError(f"is not an SMTP URL; give {forms}") from None
    return url


def https_url(url: str, key: str) -> str:
    """An https address that links can begin with; `key` is any valid signing key."""
    try:
        Links(url, (key,))
    except ValueError:
        raise ValueError(
            "is not an https address: links would travel in clear text, and one-click unsubscribe needs https (RFC 8058)"
        ) from None
    return url


def web_url(url: str) -> str:
    """An http or https address."""
    if not url.startswith(("https://", "http://")):
        raise ValueError("is not a web address; give https://links.example.com")
    return url


def reply_address(address: str, key: str) -> str:
    """A mail address with room for a signed mark; `key` is any valid signing key."""
    ReplyAddresses(address, (key,))
    return address


def signing_keys(keys: SecretStr, development_key: str) -> SecretStr:
    """Comma-separated signing keys, each long enough or the public development key."""
    if any(len(key) < MIN_SECRET and key != development_key for key in split_keys(keys) or ("",)):
        raise ValueError(f"needs {MIN_SECRET} characters or more in each key; `openssl rand -hex 32` makes one")
    return keys


def split_keys(keys: SecretStr) -> tuple[str, ...]:
    """The keys of a comma-separated setting."""
    return tuple(key.strip() for key in keys.get_secret_value().split(",") if key.strip())


def split_origins(origins: str) -> tuple[str, ...]:
    """The origins of a comma-separated setting, as browsers send them: without a final slash."""
    return tuple(origin.strip().rstrip("/") for origin in origins.split(",") if origin.strip())


def split_links(links: str) -> tuple[tuple[str, str], ...]:
    """Name and address of each link of `name=https://…, name=…`. Raises ValueError for one without an http address."""
    made = [tuple(part.strip() for part in link.split("=", 1)) for link in links.split(",") if link.strip()]
    if wrong := [link[0] for link in made if len(link) != 2 or not link[1].startswith(("http://", "https://"))]:
        raise ValueError(f"{wrong[0]!r} is no link: write name=https://…")
    return tuple((name, address) for name, address in made)


def start_page_links(links: str) -> str:
    """The links as they are written. Raises ValueError for one that `split_links` cannot read."""
    split_links(links)
    return links


def exposure(environment: str, api_host: str, **urls: str | None) -> str:
    """Why others may reach this deployment, naming the setting that says so; empty if only this machine does."""
    if environment == "production":
        return "TENURE_ENVIRONMENT is production"
    for name, url in urls.items():
        if url is not None and not _names_loopback(urlsplit(url).hostname or ""):
            return f"TENURE_{name.upper()}={url} is reachable by others"
    return "" if is_loopback(api_host) else f"TENURE_API_HOST={api_host} is reachable by others"


def is_short(key: SecretStr) -> bool:
    """Whether a write or operator key is too short where others reach the API."""
    return len(key.get_secret_value()) < MIN_API_KEY


def weak_keys_refused(reason: str, names: Iterable[str]) -> str:
    """The refusal of public and short keys; `reason` says why others may reach the API."""
    variables = " and ".join(f"TENURE_{name.upper()}" for name in names)
    return (
        f"{reason}, so public and short keys are refused. The operator's turn: set {variables} to secrets of your own of "
        f"{MIN_API_KEY} characters or more (`openssl rand -hex 32`), or listen on 127.0.0.1 outside production."
    )


def clock_offset_refused(reason: str) -> str:
    """The refusal of a clock that is wrong on purpose."""
    return f"{reason}, and TENURE_CLOCK_OFFSET_SECONDS is for tests only. The operator's turn: unset it."


def _names_loopback(host: str) -> bool:
    """Whether a host in a URL is this machine, judged by its name: a start must not wait for a name server."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback(host: str) -> bool:
    """Whether every address of `host` belongs to this machine only."""
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(addresses) and all(ipaddress.ip_address(text.partition("%")[0]).is_loopback for text in addresses)


def payload_keys(keys: SecretStr) -> SecretStr:
    """Comma-separated keys of Temporal's payloads, each with its id."""
    read_payload_keys(split_keys(keys))
    return keys


def as_text(value: object) -> str:
    """A setting as a process's environment has it."""
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def fault_sentences(prefix: str, error: ValidationError) -> str:
    """The faults of settings as lines that name their variables."""
    return "\n".join(_sentence(prefix, details) for details in error.errors())


def _sentence(prefix: str, error: Mapping[str, Any]) -> str:
    """One fault as a sentence. It has no secret: a URL may hold a password."""
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    got = "" if name.endswith(("_url", "_key", "_keys", "_secret", "_token")) else f" (got {error['input']!r})"
    return f"{prefix}{name.upper()}: {message}{got}"
