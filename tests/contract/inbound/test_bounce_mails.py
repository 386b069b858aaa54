"""Bounce reports become events of the recipient and suppress only the address that the mail was sent to."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
import pytest_asyncio

from tests.support.api import application
from tests.support.bounce_corpus import CORPUS
from tests.support.bounce_corpus import OURS as NAMED
from tests.support.complaint_corpus import CORPUS as COMPLAINTS
from tests.support.delivery_reports import exchange, headless, postfix


@pytest.fixture(scope="module")
def app(module_database_url):
    return application(module_database_url)


@pytest_asyncio.fixture
async def sent_message(api, db):
    """Insert a sent message; its Message-ID."""

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


async def bounces_of(db, user: str) -> list[dict[str, Any]]:
    rows = await db.fetch(
        """SELECT e.data FROM events e JOIN identities i USING (subject_key)
           WHERE i.value = $1 AND e.name = 'message_bounced' ORDER BY e.id""",
        user,
    )
    return [json.loads(item["data"]) for item in rows]


async def suppression_reasons(api, address: str) -> list[str]:
    answer = (await api.post("/v1/suppressions:find", json={"channel": "email", "address": address})).json()
    return [item["reason"] for item in answer["items"]] if answer["suppressed"] else []


@pytest.mark.parametrize("made", [postfix, exchange, headless], ids=["postfix", "exchange", "headless"])
async def test_a_hard_bounce_report_becomes_an_event_and_suppresses_the_address(api, db, sent_message, made, request):
    user = request.node.callspec.id
    address = f"{user}@example.com"
    reference = await sent_message(user, address)
    more = {"original": address} if made is postfix else {}
    for _ in range(2):
        assert await post(api, made(reference, to=address, **more)) == 1
    (bounce,) = await bounces_of(db, user)
    assert (bounce["kind"], bounce["permanent"], bounce["channel"], bounce["address"]) == (
        "hard",
        True,
        "email",
        address,
    )
    assert bounce["reason"].startswith("5.1.1")
    assert bounce["template"] == "setup/first-steps"
    assert await suppression_reasons(api, address) == ["hard_bounce"]


async def test_soft_bounces_of_three_mails_suppress_an_address_and_three_reports_of_one_do_not(api, db, sent_message):
    address = "full@example.com"
    for number in range(3):
        reference = await sent_message(f"full-{number}", address)
        assert await suppression_reasons(api, address) == []
        for _ in range(3):
            full = {"status": "4.2.2", "said": "452 4.2.2 full", "to": address, "original": address}
            assert await post(api, postfix(reference, **full)) == 1
    assert [bounce["kind"] for bounce in await bounces_of(db, "full-0")] == ["soft"]
    assert await suppression_reasons(api, address) == ["soft_bounces"]


async def test_reports_of_delay_or_delivery_are_ignored(api, db, sent_message):
    reference = await sent_message("late", "late@example.com")
    for action, status in (("delayed", "4.4.1"), ("delivered", "2.0.0")):
        late = {"action": action, "status": status, "to": "late@example.com", "original": "late@example.com"}
        assert await post(api, postfix(reference, **late)) == 0
    assert await bounces_of(db, "late") == []


async def test_a_forged_report_suppresses_no_address(api, db, sent_message):
    sent_to_eve, _ = await sent_message("eve", "eve@example.com"), await sent_message("victim", "victim@example.com")
    texted = await sent_message("texted", "texted@example.com", channel="sms")
    forged = [
        postfix(sent_to_eve, to="victim@example.com", original="victim@example.com"),
        postfix("<made-up@tenure.example>", to="victim@example.com", original="victim@example.com"),
        exchange(sent_to_eve, to="victim@example.com"),
        headless("<nobody-knows@tenure.example>", to="victim@example.com"),
        postfix(texted, to="texted@example.com", original="texted@example.com"),
    ]
    for raw in forged:
        assert await post(api, raw) == 0
    for user in ("eve", "victim", "texted"):
        assert await bounces_of(db, user) == []
        assert await suppression_reasons(api, f"{user}@example.com") == []


async def test_three_reports_that_the_sender_is_refused_suppress_nobody(api, db, sent_message):
    address = "policy@example.com"
    for number, status in enumerate(("5.7.26", "5.7.1", "5.3.4")):
        reference = await sent_message(f"policy-{number}", address)
        refused = {"status": status, "said": f"550 {status} refused", "to": address, "original": address}
        assert await post(api, postfix(reference, **refused)) == 1
    (bounce,) = await bounces_of(db, "policy-0")
    assert (bounce["kind"], bounce["permanent"], bounce["reason"]) == ("sender", False, "5.7.26")
    assert await suppression_reasons(api, address) == []


def about(raw: bytes, reference: str, address: str) -> bytes:
    """A mail of a corpus about this message and its recipient."""
    return raw.replace(NAMED.encode(), reference.encode()).replace(b"ada@example.com", address.encode())


@pytest.mark.parametrize("label", ["qmail-no-mailbox", "exim-remote", "action-with-reason", "recipient-without-type"])
async def test_an_older_or_foreign_bounce_suppresses_the_address(api, db, sent_message, label):
    (bounce,) = [bounce for bounce in CORPUS if bounce.label == label]
    address = f"{label}@example.com"
    reference = await sent_message(label, address)
    assert await post(api, about(bounce.mail, reference, address)) == 1
    assert await suppression_reasons(api, address) == ["hard_bounce"]


@pytest.mark.parametrize("label", ["gateway-without-address", "bounce-without-mail"])
async def test_a_bounce_that_no_rule_understands_is_kept_for_a_person(api, label):
    (bounce,) = [bounce for bounce in CORPUS if bounce.label == label]
    answer = await api.post("/v1/inbound-mails", content=bounce.mail, headers={"Content-Type": "message/rfc822"})
    assert (answer.status_code, answer.json()) == (202, {"taken": 0, "held": 1})
    kept = [
        item for item in (await api.get("/v1/quarantine?limit=100")).json()["items"] if item["source"] == "inbound-mail"
    ]
    assert any("no rule reads" in fault for item in kept for fault in item["faults"])


@pytest.mark.parametrize(
    ("label", "reasons"), [("abuse", ["complaint"]), ("not-spam", []), ("auth-failure", []), ("virus", [])]
)
async def test_only_a_complaint_about_abuse_suppresses_the_address(api, db, sent_message, label, reasons):
    (complaint,) = [complaint for complaint in COMPLAINTS if complaint.label == label]
    address = f"arf-{label}@example.com"
    reference = await sent_message(f"arf-{label}", address)
    for _ in range(2):
        assert await post(api, about(complaint.mail, reference, address)) == len(reasons)
    assert await suppression_reasons(api, address) == reasons
    rows = await db.fetch(
        "SELECT 1 FROM events e JOIN identities i USING (subject_key) WHERE i.value = $1 AND e.name = 'message_complained'",
        f"arf-{label}",
    )
    assert len(rows) == len(reasons)
