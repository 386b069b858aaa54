"""Feed lines of ledger changes: deliveries and decisions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from journeys.gate import feed

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("was", "status", "decided", "result"),
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
def test_a_retry_is_a_delivery_and_a_message_decided_again_is_a_decision(was, status, decided, result):
    until = NOW + timedelta(minutes=1) if status == "deferred" else None
    row = {"at": NOW, "event": None, "was": was, "status": status, "decided": decided, "attempt": 1}
    line = feed.lines_with_reasons({**row, "until": until, "reasons": [], "whole_id": None})
    assert line.get("result", line.get("verdict")) == result
    assert (line["type"] == "delivery") is (result in {"retry", "sent", "failed"})
    assert line.get("until") == until
