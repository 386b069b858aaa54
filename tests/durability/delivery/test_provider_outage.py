"""A provider is down for an hour: only probes call it, other channels go on, and every message is sent once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from store.database import fetch_all, sql
from tests.support.provider import PHONE, catalogue_with_sms, twilio_at
from tests.support.skipped_time import SkippedTime, skipped_time
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.serving import LocalProvider

BOTH = """
journey: export-ready
entry: {on: signed_up, again: never}
priority: transactional
start: waiting
states:
  waiting:
    do:
      - {send: export/ready, name: by-phone, via: [sms]}
      - {send: export/ready, name: by-mail, via: [email]}
    on: {setup_completed: done}
  done: {final: done}
"""
PEOPLE = 2
_WAITING = sql(
    """
    SELECT count(*) AS n, sum(attempts) AS asked, count(*) FILTER (WHERE detail LIKE '%is down') AS alone,
      count(*) FILTER (WHERE first_attempt_at IS NULL AND attempts = 0) AS never
    FROM messages WHERE status = 'deferred' AND channel = 'sms'
    """
)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return catalogue_with_sms(tmp_path / "catalog")


async def enter(stage: SkippedTime, *numbers: int) -> list[str]:
    """Enter these people; their phone numbers."""
    phones = [f"{PHONE[:-1]}{number}" for number in numbers]
    for number, phone in zip(numbers, phones, strict=True):
        await stage.identify(f"user-{number}", email=f"user-{number}@example.com", first_name="A", phone=phone)
        await stage.signal(f"user-{number}", "signed_up")
    return phones


async def waiting(stage: SkippedTime) -> Mapping[str, Any]:
    """Counts of deferred SMS: all, their attempts, those held by the breaker, and those never tried."""
    async with stage.database.reading() as connection:
        (counts,) = await fetch_all(connection, _WAITING)
    return counts


@pytest.mark.slow
async def test_every_message_is_sent_once_after_an_hour_without_the_provider(
    database_url: str, temporal_address: str, tmp_path: Path, catalog: Path, local: LocalProvider
) -> None:
    async with skipped_time(
        database_url, temporal_address, tmp_path, catalog=catalog, providers=twilio_at(local)
    ) as stage:
        await stage.publish(BOTH, checked=False)
        down = local.provider.faults
        down.add(ProviderFault(provider="twilio", kind="status", status=503, times=None))
        phones = await enter(stage, *range(PEOPLE))
        await stage.forward(minutes=30)
        phones += await enter(stage, PEOPLE)
        assert [m["channel"] for m in await stage.messages()] == ["email"] * (PEOPLE + 1), (
            "the other channel is not affected"
        )
        counts = await waiting(stage)
        assert (counts["n"], counts["never"]) == (PEOPLE + 1, 1), (
            "a message requested while the breaker was open was never tried"
        )
        await stage.forward(minutes=30)
        counts = await waiting(stage)
        assert counts["n"] == PEOPLE + 1, "none was given up"
        assert counts["alone"] > 0, "the breaker is open"
        assert counts["asked"] == down.happened < 25, "only probes are attempts, with growing waits"
        assert {run["status"] for run in await stage.runs()} == {"open"}
        down.clear()
        await stage.forward(minutes=20)  # the message used most often as a probe waits a quarter of an hour
        assert Counter(item["to"] for item in local.provider.accepted.search(provider="twilio")) == Counter(phones)
        assert len(await stage.messages()) == 2 * (PEOPLE + 1)
        for number in range(PEOPLE + 1):
            await stage.signal(f"user-{number}", "setup_completed")
        assert {run["outcome"] for run in await stage.runs()} == {"done"}
