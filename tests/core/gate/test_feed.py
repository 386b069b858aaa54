"""What a change of a ledger's row is called in the feed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from journeys.gate import feed

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("was", "status", "decided", "called"),
    [
        ("sending", "deferred", False, "retry"),
        ("sending", "sent", False, "sent"),
        ("sending", "failed", False, "failed"),
        ("sending", "deferred", True, "defer"),
        ("merged", "failed", False, "failed"),
        ("merged", "deferred", False, "again"),
        ("unknown", "deferred", False, "again"),
        (None, "deferred", True, "defer"),
    ],
)
def test_an_attempt_that_failed_for_now_is_a_delivery_and_what_is_asked_anew_a_decision(was, status, decided, called):
    until = NOW + timedelta(minutes=1) if status == "deferred" else None
    row = {"at": NOW, "event": None, "was": was, "status": status, "decided": decided, "attempt": 1}
    told = feed.lines_with_reasons({**row, "until": until, "reasons": [], "whole_id": None})
    assert told.get("result", told.get("verdict")) == called
    assert (told["type"] == "delivery") is (called in {"retry", "sent", "failed"})
    assert told.get("until") == until
