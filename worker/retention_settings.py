"""Settings of retention (TENURE_RETENTION_…): days after which rows are deleted."""

from __future__ import annotations

from datetime import timedelta
from typing import Self

from pydantic import Field, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from store.retention.periods import RetentionPeriods
from worker.setting_values import fault_sentences
from worker.settings import SettingsError

PREFIX = "TENURE_RETENTION_"
LEAST_DAYS = 2
"""Days that an event is kept at least: its sender's time counts for one (`journeys/events/segment.py`)."""


class RetentionSettings(BaseSettings):
    """Days of retention. Without a value rows are kept; the ledger, timelines and the log of consents always are."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    events_days: int | None = Field(
        None, ge=LEAST_DAYS, description="Days after which accepted events are deleted. Their message ids stay."
    )
    quarantine_days: int | None = Field(
        None, ge=1, description="Days after which quarantined events are deleted, held ones too."
    )
    outbox_days: int = Field(
        7, ge=LEAST_DAYS, description="Days after their delivery when rows of the outbox are deleted."
    )
    feed_days: int | None = Field(
        None,
        ge=1,
        description="Days after which lines of the feed are deleted; with `TENURE_FEED_URL` not before they are pushed.",
    )
    clicks_days: int | None = Field(
        None, ge=1, description="Days after the last click when the count of a link's clicks is deleted."
    )
    visitors_days: int | None = Field(
        None,
        ge=1,
        description="Days after which visitors are deleted in whose lane nothing ever was and of whom nothing else is kept. Needs `TENURE_RETENTION_EVENTS_DAYS`.",
    )
    dead_letters_days: int | None = Field(
        None, ge=1, description="Days after which dead letters are deleted, held ones too."
    )
    message_ids_days: int | None = Field(
        None,
        ge=1,
        description="Days after which message ids of deleted events are deleted: a repetition is then a new event. Not fewer than `TENURE_RETENTION_EVENTS_DAYS`.",
    )

    @model_validator(mode="after")
    def _depend_on_events(self) -> Self:
        for name, days in (("visitors_days", self.visitors_days), ("message_ids_days", self.message_ids_days)):
            if days is not None and (self.events_days is None or days < self.events_days):
                needed = "TENURE_RETENTION_EVENTS_DAYS"
                raise ValueError(
                    f"{PREFIX}{name.upper()} is {days}, and {needed} {'is not set' if self.events_days is None else f'is {self.events_days}'}. "
                    f"The operator's turn: set {needed} to {days} or fewer days."
                )
        return self


def retention_periods() -> RetentionPeriods:
    """The periods of the environment. Raises SettingsError with every fault."""
    try:
        settings = RetentionSettings()
    except ValidationError as error:
        raise SettingsError(fault_sentences(PREFIX, error)) from error
    days = {name.removesuffix("_days"): value for name, value in settings}
    return RetentionPeriods(**{kind: timedelta(days=value) for kind, value in days.items() if value is not None})
