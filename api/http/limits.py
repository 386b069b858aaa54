"""How much the API takes at once, so that memory stays flat and a slow store is told to the caller (TENURE_API_…)."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

KB = 1024


class Limits(BaseSettings):
    """Sizes are bytes as they arrive after decompression; Segment's own limits by default."""

    model_config = SettingsConfigDict(env_prefix="TENURE_API_", frozen=True, extra="ignore", env_ignore_empty=True)

    event_bytes: int = Field(32 * KB, gt=0)
    batch_bytes: int = Field(500 * KB, gt=0)
    batch_events: int = Field(2_500, gt=0)
    nesting: int = Field(32, gt=0, le=100)

    in_flight: int = Field(256, gt=0, description="Ingesting requests at once; more get 429.")
    in_flight_bytes: int = Field(64 * KB * KB, gt=0)
    commits: int = Field(4, gt=0, description="Transactions of ingestion at once.")
    merged: int = Field(100, gt=0, description="Single calls that may share one transaction.")
    backlog_seconds: float = Field(6 * 3600, gt=0, description="When accepted events wait longer, 503.")
    patience_seconds: float = Field(10, gt=0, description="After that a request is answered 503.")
    streams: int = Field(500, gt=0, description="Inboxes that are looked on at once; more get 429.")
    streams_of_one: int = Field(10, gt=0, description="Of these, by one person's own tokens: their tabs and devices.")
    pool: int = Field(10, gt=0, description="Connections to the database, doubled under load.")
