"""Everything an operator can choose, read from the environment (TENURE_…) once, at the start of a process."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from activities.channels.email.relay_settings import SmtpRelay
from journeys.consent.rules import DEV_KEY as DEV_LINK_KEY
from journeys.tokens.address_hash import AddressHash
from journeys.tokens.reply_addresses import ReplyAddresses
from journeys.tokens.signed_links import Links

PREFIX = "TENURE_"
DEV_WRITE_KEY = "dev-write-key"
DEV_OPERATOR_KEY = "dev-operator-key"
SHORTEST_SECRET = 32
"""Characters of a key that signs: it can be tried offline by whoever has one link."""
ROOT = Path(__file__).resolve().parents[1]


class SettingsError(ValueError):
    """A setting is wrong or missing. The operator's turn: each line names the variable and what to give it."""


class Settings(BaseSettings):
    """The settings of one process. A part that is given an address is used; a part that is not is embedded."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    home: Path = Field(Path(".tenure"), description="Folder of the embedded stack: data, logs, addresses.")
    database_url: str | None = Field(
        None, description="URL of PostgreSQL 15 or newer. Without it an embedded PostgreSQL is started."
    )

    temporal_address: str | None = Field(
        None, description="host:port of a Temporal frontend. Without it an embedded server is started."
    )
    temporal_namespace: str = Field("default", description="Temporal namespace.")
    temporal_tls: bool = Field(False, description="Connect to Temporal with TLS.")
    temporal_api_key: SecretStr | None = Field(None, description="API key of Temporal Cloud.")
    temporal_bin: Path | None = Field(None, description="A `temporal` CLI or server binary for the embedded server.")
    temporal_port: int = Field(
        0, ge=0, le=65_535, description="Port of the embedded Temporal server; 0 picks a free one."
    )
    task_queue: str = Field("tenure", description="Name of the worker's task queue.")
    worker_deployment: str | None = Field(
        None, description="Name of the worker deployment. With a build id, runs are pinned to their build."
    )
    build_id: str | None = Field(None, description="Build id of this worker's code.")
    max_cached_workflows: int = Field(1_000, ge=0, description="Workflows that a worker keeps in memory.")
    graceful_shutdown_seconds: float = Field(
        30.0, ge=0, description="Time that a stopping worker gives its activities."
    )
    worker_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port of the worker's health checks and metrics on `worker_host`; 0 switches them off.",
    )
    worker_host: str = Field("127.0.0.1", description="Address that the worker's health port listens on.")

    smtp_url: str | None = Field(
        None,
        description="SMTP relay: smtp://[user:password@]host:port, smtp+starttls:// or smtps://. Without it an embedded mail sink is started.",
    )
    smtp_lookup: Path | None = Field(
        None,
        description="Maildir on this machine, searchable by Message-ID, that has every mail of the relay: e-mail becomes class B.",
    )
    smtp_near: bool = Field(
        True, description="The relay accepts a mail within 1.5 s. If not, mails have a queue of their own."
    )
    smtp_ambiguity: Literal["at_most_once", "at_least_once"] = Field(
        "at_most_once", description="Class C: what happens to a mail whose attempt may have arrived."
    )
    smtp_from: str = Field("Tenure <hello@tenure.example>", description="Sender of mails: name and address.")
    reply_address: str | None = Field(
        None,
        description="Address for replies (replies@in.example.com). Mails carry it with a signed mark, and replies quiet their journey.",
    )
    postal_address: str = Field(
        "", description="Company name and postal address in the footer of every mail (CAN-SPAM)."
    )
    environment: str = Field(
        "development", description="Outside `production` only `allowed_recipients` receive messages."
    )
    allowed_recipients: str = Field(
        "",
        description="Addresses (ada@example.com, *@example.com) that receive test sends, and all messages outside production.",
    )
    link_base: str | None = Field(None, description="Address of tracked links, if they have a domain of their own.")
    public_url: str | None = Field(
        None, description="https address at which customers reach the API. Links in messages begin with it."
    )
    link_keys: SecretStr = Field(
        SecretStr(DEV_LINK_KEY), description="Keys of signed links, separated by commas: the first signs, all verify."
    )
    address_keys: SecretStr = Field(
        SecretStr(DEV_LINK_KEY),
        description="Keys of address hashes, separated by commas: add new ones in front, never remove one.",
    )
    local_provider: bool = Field(
        True,
        description="`up` starts a local provider for SMS, chat, tickets and webinars if no provider is configured.",
    )
    provider_port: int = Field(0, ge=0, le=65_535, description="Port of the local provider; 0 picks a free one.")
    mail_port: int = Field(0, ge=0, le=65_535, description="Port of the embedded mail sink; 0 picks a free one.")

    api_host: str = Field("127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(8_400, ge=0, le=65_535, description="Port of the API; 0 picks a free one.")
    write_key: SecretStr = Field(SecretStr(DEV_WRITE_KEY), description="Key of senders of events.")
    operator_key: SecretStr = Field(
        SecretStr(DEV_OPERATOR_KEY), description="Key of operators: reads, publishes and operates."
    )

    catalog: Path = Field(ROOT / "catalog", description="Folder of journeys, templates, policy and tracking plan.")
    publish_catalog: bool = Field(True, description="`up` publishes the catalogue's journeys if none is published.")
    log_format: Literal["console", "json"] = Field("console", description="Format of log lines.")

    @field_validator("home", "catalog", "smtp_lookup", "temporal_bin")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """Children run in another folder than the person who typed the path."""
        return path.expanduser().absolute() if path is not None else None

    @field_validator("database_url")
    @classmethod
    def _with_driver(cls, url: str | None) -> str | None:
        """Accept what every provider prints, and name the driver that is used."""
        if url is None:
            return None
        scheme, _, rest = url.partition("://")
        if scheme not in {"postgres", "postgresql", "postgresql+asyncpg"} or not rest:
            raise ValueError("is no PostgreSQL URL; give postgresql://user:password@host:5432/database")
        return f"postgresql+asyncpg://{rest}"

    @field_validator("temporal_address")
    @classmethod
    def _has_port(cls, address: str | None) -> str | None:
        if address is not None and not address.rpartition(":")[2].isdecimal():
            raise ValueError("has no port; give host:7233")
        return address

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, url: str | None) -> str | None:
        try:
            if url is not None:
                SmtpRelay.from_url(url)
        except ValueError:
            ways = "smtp://host:port, smtp+starttls:// or smtps://user:password@host:port"
            raise ValueError(f"is no SMTP URL; give {ways}") from None
        return url

    @field_validator("public_url")
    @classmethod
    def _is_https(cls, base: str | None) -> str | None:
        try:
            if base is not None:
                Links(base, (DEV_LINK_KEY,))
        except ValueError:
            raise ValueError(
                "is no https address: links would travel in the clear, and one-click unsubscribe needs one (RFC 8058)"
            ) from None
        return base

    @field_validator("reply_address")
    @classmethod
    def _fits_a_mark(cls, address: str | None) -> str | None:
        if address is not None:
            ReplyAddresses(address, (DEV_LINK_KEY,))
        return address

    @field_validator("link_base")
    @classmethod
    def _is_web(cls, base: str | None) -> str | None:
        if base is not None and not base.startswith(("https://", "http://")):
            raise ValueError("is no web address; give https://links.example.com")
        return base

    @field_validator("link_keys", "address_keys")
    @classmethod
    def _are_secrets(cls, keys: SecretStr) -> SecretStr:
        if any(len(key) < SHORTEST_SECRET and key != DEV_LINK_KEY for key in _listed(keys) or ("",)):
            raise ValueError(
                f"needs {SHORTEST_SECRET} characters or more in each key; `openssl rand -hex 32` makes one"
            )
        return keys

    @model_validator(mode="after")
    def _development_keys_stay_at_home(self) -> Self:
        if is_loopback(self.api_host):
            return self
        if self.dev_keys:
            names = " and ".join(PREFIX + name.upper() for name in self.dev_keys)
            raise ValueError(
                f"{PREFIX}API_HOST={self.api_host} is reachable by others, and the development keys are public. "
                f"The operator's turn: set {names} to secrets of your own, or listen on 127.0.0.1."
            )
        return self

    @property
    def allowed(self) -> tuple[str, ...]:
        """The allow-list, one pattern each."""
        return tuple(each.strip() for each in self.allowed_recipients.split(",") if each.strip())

    @property
    def dev_keys(self) -> tuple[str, ...]:
        """The names of the keys that still have their public development values."""
        keys = {
            "write_key": DEV_WRITE_KEY,
            "operator_key": DEV_OPERATOR_KEY,
            "link_keys": DEV_LINK_KEY,
            "address_keys": DEV_LINK_KEY,
        }
        return tuple(name for name, dev in keys.items() if dev in _listed(getattr(self, name)))

    @property
    def links(self) -> Links:
        """What signs and reads the links in messages: to this machine's own API where no address is given."""
        return Links(self.public_url or f"http://127.0.0.1:{self.api_port}", self.link_secrets)

    @property
    def link_secrets(self) -> tuple[str, ...]:
        """The keys of links: the first makes them, all read them."""
        return _listed(self.link_keys)

    @property
    def replies(self) -> ReplyAddresses | None:
        """Where answers to mails come back to; None where no address is given for them."""
        return ReplyAddresses(self.reply_address, _listed(self.link_keys)) if self.reply_address is not None else None

    @property
    def addresses(self) -> AddressHash:
        """What recognises an address without keeping it."""
        return AddressHash(_listed(self.address_keys))

    def environ(self, **replaced: str | Path | int | None) -> dict[str, str]:
        """These settings as the environment of a child process, with some of them replaced."""
        values = {**dict(self), **replaced}
        return {PREFIX + name.upper(): _plain(value) for name, value in values.items() if value is not None}


def load_settings(**given: Any) -> Settings:
    """Read the settings; what is given here wins over the environment. Raises SettingsError naming every fault."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(_fault(each) for each in error.errors())) from error


def is_loopback(host: str) -> bool:
    """Whether every address that `host` stands for is this machine's own."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, None)}
    except OSError:
        return False
    return bool(found) and all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in found)


def _listed(keys: SecretStr) -> tuple[str, ...]:
    return tuple(key.strip() for key in keys.get_secret_value().split(",") if key.strip())


def _plain(value: object) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else str(value)


def _fault(error: Mapping[str, Any]) -> str:
    message = str(error["msg"]).removeprefix("Value error, ")
    if not error["loc"]:
        return message
    name = str(error["loc"][0])
    # An address may carry a password, and errors end up in logs.
    got = "" if name.endswith(("_url", "_key", "_keys", "_secret")) else f" (got {error['input']!r})"
    return f"{PREFIX}{name.upper()}: {message}{got}"
