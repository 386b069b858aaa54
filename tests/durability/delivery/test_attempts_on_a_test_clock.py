"""Attempts on a test clock: it stands while a provider is unreachable, and moves by a wait that the provider names."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from store.database import fetch_all, sql
from store.people.test_clocks import read_clock
from tests.support.live_stack import until
from tests.support.provider import PHONE, catalogue_with_sms, twilio_at
from worker.stack.mail_sink import MailFaults
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.serving import LocalProvider
from worker.testing.rehearsal import MAIN, Rehearsal
from worker.testing.stage import rehearsal

ORIGIN = datetime(2027, 1, 4, 9, 0, tzinfo=UTC)
SENDS = ORIGIN + timedelta(days=1)
JOURNEY = """
journey: export-ready
entry: {on: signed_up, again: never}
priority: transactional
start: waiting
states:
  waiting: {after: {P1D: sending}}
  sending:
    do: [{send: export/ready, name: by-phone, via: [sms]}]
    on: {by-phone.sent: done}
    after: {P1D: done}
  done: {final: done}
"""
MESSAGE = sql("SELECT status, attempts, first_attempt_at, sent_at, due_at, detail FROM messages")


@pytest_asyncio.fixture
async def stage(
    database_url: str, temporal_address: str, tmp_path: Path, local: LocalProvider
) -> AsyncIterator[Rehearsal]:
    catalog = catalogue_with_sms(tmp_path / "catalog")
    providers = twilio_at(local)
    async with rehearsal(
        database_url, temporal_address, tmp_path, catalog=catalog, providers=providers, begins=ORIGIN
    ) as stage:
        await stage.publish(JOURNEY, checked=False)
        await stage.identify("ada", email="ada@example.com", first_name="Ada", phone=PHONE)
        await stage.signal("ada", "signed_up")
        yield stage


async def _message(stage: Rehearsal) -> Mapping[str, Any] | None:
    async with stage.database.reading() as connection:
        rows = await fetch_all(connection, MESSAGE)
    return rows[0] if rows else None


async def _now(stage: Rehearsal) -> datetime:
    async with stage.database.reading() as connection:
        clock = await read_clock(connection, MAIN)
    assert clock is not None
    return clock.now


@contextlib.asynccontextmanager
async def _advancing(stage: Rehearsal, **span: float) -> AsyncIterator[None]:
    """The clock advances beside the body, and has arrived afterwards."""
    task = asyncio.create_task(stage.forward(**span))
    try:
        yield
    finally:
        await task


async def test_a_clock_stands_while_a_provider_is_down_and_the_message_is_sent_at_its_instant(
    stage: Rehearsal, local: LocalProvider
) -> None:
    local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=503, times=None))
    async with _advancing(stage, days=30):
        held = await until(lambda: _message(stage), lambda row: row is not None and row["attempts"] >= 2)
        assert held is not None
        assert (await _now(stage), held["first_attempt_at"]) == (SENDS, SENDS)
        local.provider.faults.clear()
    sent = await _message(stage)
    assert sent is not None
    assert (sent["status"], sent["sent_at"]) == ("sent", SENDS)
    assert len(local.provider.accepted.search(provider="twilio")) == 1


async def test_a_wait_that_the_provider_names_passes_by_the_clock(stage: Rehearsal, local: LocalProvider) -> None:
    local.provider.faults.add(ProviderFault(provider="twilio", kind="status", status=429, retry_after=3600))
    await stage.forward(days=1)
    held = await _message(stage)
    assert held is not None
    assert (held["status"], held["due_at"]) == ("deferred", SENDS + timedelta(hours=1))
    await stage.forward(days=1)
    sent = await _message(stage)
    assert sent is not None
    assert (sent["status"], sent["sent_at"], sent["attempts"]) == ("sent", SENDS + timedelta(hours=1), 2)


MAILED = """
journey: mailed
entry: {on: signed_up, again: never}
start: waiting
states:
  waiting: {after: {P1D: sending}}
  sending:
    do: [{send: setup/first-steps, name: mail, via: [email]}]
    on: {mail.sent: done}
    after: {P1D: done}
  done: {final: done}
"""


@pytest.mark.parametrize(
    "faults", [MailFaults(close_after_accept_rate=1.0), MailFaults(fail_rate=0.6, seed=1)], ids=str
)
async def test_a_mail_that_was_lost_or_refused_for_now_is_sent_once_at_its_instant(
    database_url: str, temporal_address: str, tmp_path: Path, faults: MailFaults
) -> None:
    async with rehearsal(database_url, temporal_address, tmp_path, faults=faults, begins=ORIGIN) as stage:
        await stage.publish(MAILED, checked=False)
        await stage.identify("ada", email="ada@example.com", first_name="Ada")
        await stage.signal("ada", "signed_up")
        await stage.forward(days=30)
        sent = await _message(stage)
        assert sent is not None
        assert (sent["status"], sent["sent_at"], sent["first_attempt_at"]) == ("sent", SENDS, SENDS)
        assert stage.mail.count() == 1
        assert sent["attempts"] > 1 or faults.fail_rate == 0
        (line,) = [line for line in await stage.lines() if line["kind"] == "finished"]
        assert line["at"] == SENDS, "the outcome is decided at the same instant"


async def test_attempts_of_one_step_are_made_one_after_another(
    database_url: str, temporal_address: str, tmp_path: Path
) -> None:
    """Each mail's answer comes late: an attempt made beside it would have arrived before."""
    delay, several = 0.3, "[{send: setup/first-steps, name: mail, via: [email]}, {send: setup/checklist, via: [email]}]"
    faults = MailFaults(delay_seconds=delay)
    async with rehearsal(database_url, temporal_address, tmp_path, faults=faults, begins=ORIGIN) as stage:
        text = MAILED.replace("[{send: setup/first-steps, name: mail, via: [email]}]", several)
        await stage.publish(text.replace("start: waiting", "priority: transactional\nstart: waiting"), checked=False)
        await stage.identify("ada", email="ada@example.com", first_name="Ada")
        await stage.signal("ada", "signed_up")
        await stage.forward(days=2)
        first, second = sorted(int(path.name.partition(".")[0]) for path in (stage.mail.folder / "new").iterdir())
        assert second - first >= delay * 1e9
