"""Limits of the API (TENURE_API_…): sizes, concurrency, backlog."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from journeys.access.quotas import IngestQuotas, Quota

KB = 1024
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class Limits(BaseSettings):
    """Limits of the API. Sizes are bytes after decompression; the defaults are Segment's limits."""

    model_config = SettingsConfigDict(env_prefix="TENURE_API_", frozen=True, extra="ignore", env_ignore_empty=True)

    event_bytes: int = Field(32 * KB, gt=0, description="Largest event, in bytes after decompression.")
    batch_bytes: int = Field(500 * KB, gt=0, description="Largest batch, in bytes after decompression.")
    batch_events: int = Field(2_500, gt=0, description="Most events in a batch.")
    profile_bytes: int = Field(
        64 * KB, gt=0, description="Largest profile of a person or an account; what makes one larger is quarantined."
    )
    nesting: int = Field(32, gt=0, le=100, description="Deepest nesting of JSON.")

    in_flight: int = Field(256, gt=0, description="Ingestion requests at the same time; more get 429.")
    in_flight_bytes: int = Field(
        64 * KB * KB, gt=0, description="Bytes of ingestion requests at the same time; more get 429."
    )
    arriving_bytes: int = Field(
        64 * KB * KB,
        gt=0,
        description="Bytes of bodies that arrive at the same time, each at least 16 KB; beyond them the key, or the network of a public key, with the most gets 429 for its slowest.",
    )
    body_seconds: float = Field(10, gt=0, description="Time after which a body that is not complete gets 408.")
    commits: int = Field(4, gt=0, description="Ingestion transactions at the same time.")
    merged: int = Field(100, gt=0, description="Most single calls that share one transaction.")
    backlog_seconds: float = Field(
        6 * 3600,
        gt=0,
        description="Time for which half of the waiting lanes have waited above which ingestion answers 503; lanes that rest after a failure do not count.",
    )
    patience_seconds: float = Field(10, gt=0, description="Time after which a request is answered with 503.")
    wrong_key_seconds: float = Field(
        1.0, ge=0, description="Delay of the answer to a wrong key, once one network has sent 20 in a minute."
    )
    streams: int = Field(500, gt=0, description="Open inbox streams; more get 429.")
    streams_of_one: int = Field(10, gt=0, description="Open inbox streams of one person; more get 429.")

    public_requests: int = Field(30_000, gt=0, description="Requests of one public key in a minute; more get 429.")
    public_bytes: int = Field(64 * KB * KB, gt=0, description="Bytes of one public key in a minute; more get 429.")
    public_events: int = Field(
        60_000, gt=0, description="Events of one public key in a minute, refused ones too; more get 429."
    )
    public_held: int = Field(
        5_000, gt=0, description="Events of one public key that go to quarantine in an hour; more get 429."
    )
    public_people: int = Field(5_000, gt=0, description="New people of one public key in an hour; more get 429.")
    public_day_bytes: int = Field(4 * KB * KB * KB, gt=0, description="Bytes of one public key in a day; more get 429.")
    secret_requests: int = Field(600_000, gt=0, description="Requests of one secret key in a minute; more get 429.")
    secret_bytes: int = Field(4 * KB * KB * KB, gt=0, description="Bytes of one secret key in a minute; more get 429.")
    secret_day_bytes: int = Field(
        64 * KB * KB * KB, gt=0, description="Bytes of one secret key in a day; more get 429."
    )
    operator_day_bytes: int = Field(
        256 * KB * KB * KB, gt=0, description="Bytes of one operator's key in a day, such as an import; more get 429."
    )
    provider_day_bytes: int = Field(
        4 * KB * KB * KB,
        gt=0,
        description="Bytes of the webhook of one provider in a day, and of inbound mails; more get 429.",
    )
    network_requests: int = Field(
        600, gt=0, description="Requests of one network address with public keys in a minute; more get 429."
    )
    network_bytes: int = Field(
        8 * KB * KB, gt=0, description="Bytes of one network address with public keys in a minute; more get 429."
    )
    network_events: int = Field(
        6_000,
        gt=0,
        description="Events of one network address with public keys in a minute, refused ones too; more get 429.",
    )
    network_held: int = Field(
        500,
        gt=0,
        description="Events of one network address with public keys that go to quarantine in an hour; more get 429.",
    )
    network_in_flight: int = Field(
        4, gt=0, description="Requests of one network address with public keys in progress at the same time; more wait."
    )
    network_people: int = Field(
        200, gt=0, description="New people of one network address with public keys in an hour; more get 429."
    )
    network_addresses: int = Field(
        20,
        gt=0,
        description="Mail addresses and numbers that one network address with public keys gives people in an hour; more get 429.",
    )
    person_events: int = Field(
        240, gt=0, description="Events of one person with public keys in a minute; more get 429."
    )
    address_claims: int = Field(
        5,
        gt=0,
        description="Times that public keys give or ask about one mail address or number in a day; more get 429.",
    )

    pool: int = Field(10, gt=0, description="Connections to the database, doubled under load.")

    @property
    def quotas(self) -> IngestQuotas:
        """The quotas on ingestion."""
        return IngestQuotas(
            public_requests=Quota("requests of this key", self.public_requests, _MINUTE),
            public_bytes=Quota("bytes of this key", self.public_bytes, _MINUTE),
            public_events=Quota("events of this key", self.public_events, _MINUTE),
            public_held=Quota("events of this key for quarantine", self.public_held, _HOUR),
            public_people=Quota("new people of this key", self.public_people, _HOUR),
            secret_requests=Quota("requests of this key", self.secret_requests, _MINUTE),
            secret_bytes=Quota("bytes of this key", self.secret_bytes, _MINUTE),
            network_requests=Quota("requests of this network", self.network_requests, _MINUTE),
            network_bytes=Quota("bytes of this network", self.network_bytes, _MINUTE),
            network_events=Quota("events of this network", self.network_events, _MINUTE),
            network_held=Quota("events of this network for quarantine", self.network_held, _HOUR),
            network_people=Quota("new people of this network", self.network_people, _HOUR),
            network_addresses=Quota("addresses given by this network", self.network_addresses, _HOUR),
            person_events=Quota("events of this person", self.person_events, _MINUTE),
            public_day_bytes=Quota("bytes of this key in a day", self.public_day_bytes, _DAY),
            secret_day_bytes=Quota("bytes of this key in a day", self.secret_day_bytes, _DAY),
            operator_day_bytes=Quota("bytes of this key in a day", self.operator_day_bytes, _DAY),
            provider_day_bytes=Quota("bytes of this provider in a day", self.provider_day_bytes, _DAY),
            address_claims=Quota("requests about this address", self.address_claims, _DAY),
        )
