"""A report that a mail did not arrive is told to whom it was for, and silences an address only if that mail of ours went there."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import application
from tests.support.delivery_reports import exchange, headless, postfix


@pytest.fixture(scope="module")
def app(module_database_url):
    return application(module_database_url)


@pytest_asyncio.fixture
async def sent(api, db):
    """A mail of ours in the ledger: its Message-ID."""

    async def put(user: str, address: str, channel: str = "email") -> str:
        await api.post(f"/v1/users/{user}/signals", json={"name": "signed_up"})
        person = await db.fetchval("SELECT subject_key FROM identities WHERE value = $1", user)
        reference = f"<{hashlib.sha256(user.encode()).hexdigest()}@tenure.example>"
        await db.execute(
            """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,
                 priority, at, status, decided_at, channel, reference, address)
               VALUES ($1, 'r', 1, $2, $2, 'j', 's', 1, 'hello', 'setup/first-steps', '["email"]', 'lifecycle', now(),
                 'sent', now(), $3, $4, $5)""",
            f"m-{user}", person, channel, reference, address,
        )  # fmt: skip
        return reference

    return put


async def post(api, raw: bytes) -> int:
    answer = await api.post("/v1/inbound-mails", content=raw, headers={"Content-Type": "message/rfc822"})
    assert answer.status_code == 202, answer.text
    return int(answer.json()["taken"])


async def told(db, user: str) -> list[dict[str, Any]]:
    found = await db.fetch(
        """SELECT e.data FROM events e JOIN identities i USING (subject_key)
           WHERE i.value = $1 AND e.name = 'message_bounced' ORDER BY e.id""",
        user,
    )
    return [json.loads(item["data"]) for item in found]


async def held(api, address: str) -> list[str]:
    found = (await api.post("/v1/suppressions:find", json={"channel": "email", "address": address})).json()
    return [item["reason"] for item in found["items"]] if found["suppressed"] else []


@pytest.mark.parametrize("made", [postfix, exchange, headless], ids=["postfix", "exchange", "headless"])
async def test_a_dead_mailbox_is_told_of_and_never_written_to_again(api, db, sent, made, request):
    user = request.node.callspec.id
    address = f"{user}@example.com"
    reference = await sent(user, address)
    more = {"original": address} if made is postfix else {}
    for _ in range(2):
        assert await post(api, made(reference, to=address, **more)) == 1
    (said,) = await told(db, user)
    assert (said["kind"], said["permanent"], said["channel"], said["address"]) == ("hard", True, "email", address)
    assert said["reason"].startswith("5.1.1")
    assert said["template"] == "setup/first-steps"
    assert await held(api, address) == ["hard_bounce"]


async def test_three_mails_that_come_back_for_now_silence_an_address_and_one_told_thrice_does_not(api, db, sent):
    address = "full@example.com"
    for number in range(3):
        reference = await sent(f"full-{number}", address)
        assert await held(api, address) == []
        for _ in range(3):
            full = {"status": "4.2.2", "said": "452 4.2.2 full", "to": address, "original": address}
            assert await post(api, postfix(reference, **full)) == 1
    assert [each["kind"] for each in await told(db, "full-0")] == ["soft"]
    assert await held(api, address) == ["soft_bounces"]


async def test_what_is_only_late_or_has_arrived_moves_nothing(api, db, sent):
    reference = await sent("late", "late@example.com")
    for action, status in (("delayed", "4.4.1"), ("delivered", "2.0.0")):
        late = {"action": action, "status": status, "to": "late@example.com", "original": "late@example.com"}
        assert await post(api, postfix(reference, **late)) == 0
    assert await told(db, "late") == []


async def test_nobody_silences_an_address_but_the_one_that_this_very_mail_of_ours_went_to(api, db, sent):
    theirs, _ = await sent("eve", "eve@example.com"), await sent("victim", "victim@example.com")
    texted = await sent("texted", "texted@example.com", channel="sms")
    forged = [
        postfix(theirs, to="victim@example.com", original="victim@example.com"),
        postfix("<made-up@tenure.example>", to="victim@example.com", original="victim@example.com"),
        exchange(theirs, to="victim@example.com"),
        headless("<nobody-knows@tenure.example>", to="victim@example.com"),
        postfix(texted, to="texted@example.com", original="texted@example.com"),
    ]
    for raw in forged:
        assert await post(api, raw) == 0
    for user in ("eve", "victim", "texted"):
        assert await told(db, user) == []
        assert await held(api, f"{user}@example.com") == []
