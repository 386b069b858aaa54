"""Settings of retention: by default everything is kept, and message ids outlive their events."""

from __future__ import annotations

from datetime import timedelta

import pytest

from store.retention.periods import RetentionPeriods
from worker.retention_settings import retention_periods
from worker.settings import SettingsError


def test_the_default_keeps_everything_but_delivered_rows_of_the_outbox():
    assert retention_periods() == RetentionPeriods(outbox=timedelta(days=7))


def test_each_kind_has_its_days(monkeypatch):
    for kind, days in {"EVENTS": 90, "FEED": 30, "VISITORS": 90, "MESSAGE_IDS": 400}.items():
        monkeypatch.setenv(f"TENURE_RETENTION_{kind}_DAYS", str(days))
    periods = retention_periods()
    assert (periods.events, periods.feed, periods.quarantine) == (timedelta(days=90), timedelta(days=30), None)
    assert periods.message_ids == timedelta(days=400)


@pytest.mark.parametrize("kind", ["MESSAGE_IDS", "VISITORS"])
@pytest.mark.parametrize("events", ["", "31"])
def test_ids_and_visitors_outlive_their_events(monkeypatch, kind, events):
    monkeypatch.setenv(f"TENURE_RETENTION_{kind}_DAYS", "30")
    monkeypatch.setenv("TENURE_RETENTION_EVENTS_DAYS", events)
    with pytest.raises(SettingsError, match=f"TENURE_RETENTION_{kind}_DAYS is 30"):
        retention_periods()


def test_a_wrong_number_of_days_names_its_setting(monkeypatch):
    monkeypatch.setenv("TENURE_RETENTION_EVENTS_DAYS", "1")
    with pytest.raises(SettingsError, match=r"TENURE_RETENTION_EVENTS_DAYS: .*greater"):
        retention_periods()
