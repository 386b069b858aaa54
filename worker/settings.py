"""Settings of one process, read from the environment (TENURE_…) when it starts.

A part of the stack whose address is set is used; a part without an address is embedded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from journeys.consent.rules import DEV_KEY as DEV_LINK_KEY
from journeys.tokens.address_hash import AddressHash
from journeys.tokens.reply_addresses import ReplyAddresses
from journeys.tokens.signed_links import Links
from worker import setting_values as values
from worker.payload_keys import DEV_PAYLOAD_KEY

PREFIX = "TENURE_"
DEV_WRITE_KEY = "dev-write-key"
DEV_OPERATOR_KEY = "dev-operator-key"
ROOT = Path(__file__).resolve().parents[1]


class SettingsError(ValueError):
    """A setting is wrong or missing. The operator's turn: each line names a variable and what to set it to."""


class Settings(BaseSettings):
    """Everything but providers (`provider_settings.py`) and the API's limits (`api/http/limits.py`)."""

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
    temporal_store: Literal["sqlite", "postgres"] = Field(
        "sqlite", description="Where the embedded Temporal server keeps its runs: files, or a PostgreSQL of its own."
    )
    task_queue: str = Field("tenure", description="Name of the worker's task queue.")
    worker_deployment: str | None = Field(
        None, description="Name of the worker deployment. With a build id, runs are pinned to their build."
    )
    build_id: str | None = Field(None, description="Build id of this worker's code.")
    max_cached_workflows: int = Field(1_000, ge=0, description="Workflows that a worker keeps in memory.")
    graceful_shutdown_seconds: float = Field(30.0, ge=0, description="Time for activities of a stopping worker.")
    worker_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port of the worker's health and metrics on `worker_host`; 0 switches them off. `up` takes 8401.",
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
    link_base: Annotated[str, AfterValidator(values.web_url)] | None = Field(
        None, description="Address of tracked links, if they have a domain of their own."
    )
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
    payload_keys: SecretStr = Field(
        SecretStr(DEV_PAYLOAD_KEY),
        description="Keys of payloads in Temporal, id=secret, separated by commas: the first encrypts, all decrypt. The embedded server has its own.",
    )
    codec_origins: str = Field("", description="Origins whose pages may call /v1/codec, separated by commas.")
    local_provider: bool = Field(
        True,
        description="`up` starts a local provider for SMS, chat, tickets and webinars if no provider is configured.",
    )

    browser_origins: str = Field(
        "*", description="Origins (https://www.example.com) whose pages may use a public key, with commas; `*` is all."
    )
    api_host: str = Field("127.0.0.1", description="Address that the API listens on.")
    api_port: int = Field(8_400, ge=0, le=65_535, description="Port of the API; with `up`, 0 is any free one.")
    operations_address: str | None = Field(
        None,
        description="host:port on which the API serves `/livez`, `/readyz` with every check, `/metrics` and `/openapi.json` without a key, for your monitoring alone.",
    )
    api_proxies: str = Field(
        "",
        description="Addresses or networks of proxies before the API, separated by commas: their `X-Forwarded-For` names the client.",
    )
    start_page_links: Annotated[str, AfterValidator(values.start_page_links)] = Field(
        "", description="Links on the API's page `/`: Temporal=https://temporal.example.com, separated by commas."
    )
    write_key: SecretStr = Field(
        SecretStr(DEV_WRITE_KEY), description="First secret key, for senders of events; `cli keys` makes others."
    )
    operator_key: SecretStr = Field(
        SecretStr(DEV_OPERATOR_KEY), description="First operator's key, with every scope; `cli keys` makes others."
    )

    catalog: Path = Field(ROOT / "catalog", description="Folder of journeys, templates, policy and tracking plan.")
    publish_catalog: bool = Field(True, description="`up`, `publish --new` publish the catalogue until a person has.")
    clock_offset_seconds: float = Field(0, description="For tests only: seconds added to the machine's clock.")
    log_format: Literal["console", "json"] = Field("console", description="Format of log lines.")

    @field_validator("home", "catalog", "smtp_lookup", "temporal_bin")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        """Child processes run in another folder than the operator's."""
        return path.expanduser().absolute() if path is not None else None

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, url: str | None) -> str | None:
        return values.database_url(url) if url is not None else None

    @field_validator("temporal_address", "operations_address")
    @classmethod
    def _has_port(cls, address: str | None) -> str | None:
        return values.host_and_port(address) if address is not None else None

    @field_validator("smtp_url")
    @classmethod
    def _is_smtp(cls, url: str | None) -> str | None:
        return values.smtp_url(url) if url is not None else None

    @field_validator("public_url")
    @classmethod
    def _is_https(cls, url: str | None) -> str | None:
        return values.https_url(url, DEV_LINK_KEY) if url is not None else None

    @field_validator("reply_address")
    @classmethod
    def _takes_a_mark(cls, address: str | None) -> str | None:
        return values.reply_address(address, DEV_LINK_KEY) if address is not None else None

    @field_validator("link_keys", "address_keys")
    @classmethod
    def _are_signing_keys(cls, keys: SecretStr) -> SecretStr:
        return values.signing_keys(keys, DEV_LINK_KEY)

    @field_validator("payload_keys")
    @classmethod
    def _are_payload_keys(cls, keys: SecretStr) -> SecretStr:
        return values.payload_keys(keys)

    @model_validator(mode="after")
    def _own_keys_where_others_reach_it(self) -> Self:
        reason = values.exposure(self.environment, self.api_host, public_url=self.public_url, link_base=self.link_base)
        if reason and self.weak_keys:
            raise ValueError(values.weak_keys_refused(reason, self.weak_keys))
        if reason and self.clock_offset_seconds:
            raise ValueError(values.clock_offset_refused(reason))
        return self

    @property
    def allowed(self) -> tuple[str, ...]:
        """The patterns of the allow-list."""
        return tuple(pattern.strip() for pattern in self.allowed_recipients.split(",") if pattern.strip())

    @property
    def dev_keys(self) -> tuple[str, ...]:
        """Names of the keys that still have their public development values."""
        development = {
            "write_key": DEV_WRITE_KEY,
            "operator_key": DEV_OPERATOR_KEY,
            "link_keys": DEV_LINK_KEY,
            "address_keys": DEV_LINK_KEY,
            "payload_keys": DEV_PAYLOAD_KEY,
        }
        return tuple(name for name, key in development.items() if key in values.split_keys(getattr(self, name)))

    @property
    def weak_keys(self) -> tuple[str, ...]:
        """Names of the keys that others know or may guess: development values, and short keys of the API."""
        own = (name for name in ("write_key", "operator_key") if name not in self.dev_keys)
        return (*self.dev_keys, *(name for name in own if values.is_short(getattr(self, name))))

    @property
    def links(self) -> Links:
        """Signs and reads the links in messages. Without `public_url` they lead to this machine's API."""
        return Links(self.public_url or f"http://127.0.0.1:{self.api_port}", self.link_secrets)

    @property
    def link_secrets(self) -> tuple[str, ...]:
        """The keys of signed links: the first signs, all verify."""
        return values.split_keys(self.link_keys)

    @property
    def replies(self) -> ReplyAddresses | None:
        """Makes and reads the addresses for replies; None where no address is set."""
        return ReplyAddresses(self.reply_address, self.link_secrets) if self.reply_address is not None else None

    @property
    def addresses(self) -> AddressHash:
        """Hashes addresses, so that one can be recognised without being stored."""
        return AddressHash(values.split_keys(self.address_keys))

    def environ(self, **replaced: str | Path | int | None) -> dict[str, str]:
        """These settings as the environment of a child process, some of them replaced."""
        settings = {**dict(self), **replaced}
        return {PREFIX + name.upper(): values.as_text(value) for name, value in settings.items() if value is not None}


def load_settings(**given: Any) -> Settings:
    """Read the settings; `given` wins over the environment. Raises SettingsError with every fault."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        raise SettingsError(values.fault_sentences(PREFIX, error)) from error
