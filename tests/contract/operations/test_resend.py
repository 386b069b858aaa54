"""Resending a failed or unknown message by hand: once, through the gate."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.contract.tasks.test_tasks import entered, subject_of

AT = datetime(2026, 5, 3, 10, tzinfo=UTC)


async def insert_message(db, run: str, key: str, status: str) -> Any:
    """Insert a message that was sent by e-mail and has this status; its id."""
    return await db.fetchval(
        """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via, topic,
             priority, at, status, channel, attempts, decided_at, sent_at, first_attempt_at, body, reference, address)
           VALUES ($1, $2, 1, $3, $3, 'j', 'setting_up', 1, $1, 'setup/first-steps', '["email"]', 'onboarding', 'lifecycle',
             $4, $5, 'email', 1, $4, $4, $4, 'the mail', '<1@tenure.example>', 'ada@example.com') RETURNING id""",
        key, run, await subject_of(db, run), AT, status,
    )  # fmt: skip


async def count_of_wakes(db, run: str) -> Any:
    return await db.fetchval(
        "SELECT count(*) FROM outbox WHERE kind = 'wake' AND recipient = $1", await subject_of(db, run)
    )


async def test_resending_an_unknown_message_makes_it_due_once_with_the_same_bytes(api, db):
    run = await entered(api, "lost")
    number = await insert_message(db, run, "lost-1", "unknown")
    answers = await asyncio.gather(*(api.post(f"/v1/messages/{number}/resend") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409, 409]
    (resent,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (resent["status"], resent["settled_at"]) == ("deferred", None)
    assert datetime.fromisoformat(resent["sent_at"]) == AT, "a message that may have arrived counts for caps"
    assert datetime.fromisoformat(resent["due_at"]) > AT
    stored = await db.fetchrow("SELECT body, first_attempt_at FROM messages WHERE id = $1", number)
    assert (stored["body"], stored["first_attempt_at"]) == (b"the mail", None)
    assert await count_of_wakes(db, run) == 1


async def test_resending_a_failed_message_renders_it_again(api, db):
    number = await insert_message(db, await entered(api, "mended"), "failed-1", "failed")
    assert (await api.post(f"/v1/messages/{number}/resend")).status_code == 200
    assert await db.fetchval("SELECT body FROM messages WHERE id = $1", number) is None


@pytest.mark.parametrize("status", ["deferred", "sending", "sent", "withheld", "withdrawn", "replaced"])
async def test_resending_a_message_in_any_other_status_is_refused(api, db, status):
    run = await entered(api, f"is-{status}")
    number = await insert_message(db, run, f"left-{status}", status)
    refused = await api.post(f"/v1/messages/{number}/resend")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:tenure:problem:conflict")
    assert status in refused.json()["detail"]
    assert await count_of_wakes(db, run) == 0


async def test_resending_a_message_that_does_not_exist_gets_404(api):
    refused = await api.post("/v1/messages/999999/resend")
    assert (refused.status_code, refused.json()["type"]) == (404, "urn:tenure:problem:not-found")
