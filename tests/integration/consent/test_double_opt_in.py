"""Double opt-in end to end: the confirmation mail passes the gate, and the link of a mail unsubscribes."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from journeys.consent.changes import ConsentChange
from journeys.tokens.signed_links import LinkError
from store.events.changes import change_consents, confirm_consent
from store.messages import kill_switches
from tests.support import shipped_catalog
from tests.support.live_stack import LiveStack, live_stack, until
from tests.support.own_keys import OWN_ENVIRONMENT
from worker.settings import ROOT

BASE = "https://hello.acme.example"
TICKET = """
journey: ticket
entry: {on: ticket_opened, again: always}
exit: [{on: account_closed}]
priority: transactional
topic: support
start: inside
states:
  inside: {do: [{send: support/we-are-on-it, data: {ticket_id: event.ticket_id}}], on: {done: over}}
  over: {final: finished}
"""
OFFER = """
journey: offer
entry: {on: offered, again: always}
exit: [{on: account_closed}]
topic: offers
start: inside
states:
  inside: {do: [{send: education/first-value}], on: {done: over}}
  over: {final: finished}
"""


@pytest_asyncio.fixture
async def stack(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LiveStack]:
    for name, value in {**OWN_ENVIRONMENT, "TENURE_PUBLIC_URL": BASE}.items():
        monkeypatch.setenv(name, value)
    async with live_stack(database_url, temporal_address, task_queue, tmp_path) as stack:
        await stack.publish(OFFER)
        await stack.publish(
            (ROOT / "catalog" / "journeys" / "confirm-consent.yaml").read_text(), shipped_catalog.plan().types()
        )
        await stack.accept(stack.identify("ada", email="ada@example.com", first_name="Ada"))
        yield stack


async def mails(stack: LiveStack, tmp_path: Path, count: int) -> list[EmailMessage]:
    async def arrived() -> list[Path]:
        return sorted((tmp_path / "mail" / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)

    paths = await until(arrived, lambda paths: len(paths) == count)
    return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]


def link_in(mail: EmailMessage, path: str) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    links = re.findall(rf"{re.escape(BASE)}/{path}/(\S+)", body.get_content())
    assert len(links) == 1
    return str(links[0])


async def test_C5_a_double_opt_in_allows_messages_and_their_links_unsubscribe(stack: LiveStack, tmp_path: Path) -> None:
    person = (await stack.rows("SELECT key FROM subjects"))[0]["key"]
    catalogue, policy, links = stack.deps.catalogue, stack.deps.policy, stack.deps.catalogue.consent.links
    yes = ConsentChange("email", "offers", granted=True, source="form", wording="Send me offers")
    effect = await change_consents(stack.database, catalogue, policy, person, [yes])
    assert effect.pending == (("email", "offers"),)

    (confirmation,) = await mails(stack, tmp_path, 1)
    assert confirmation["Subject"] == "Please confirm your subscription"
    ledger = await stack.rows("SELECT journey, status, priority FROM messages")
    assert [(row["journey"], row["priority"]) for row in ledger] == [("confirm-consent", "transactional")]

    await stack.accept(stack.track("ada", "offered"))
    await stack.until("SELECT count(*) FROM messages WHERE journey = 'offer' AND status = 'withheld'", lambda n: n == 1)

    link = links.read(link_in(confirmation, "y"), "confirm", datetime.now(UTC))
    await confirm_consent(stack.database, catalogue, link, {"by": "test"})
    assert await stack.until("SELECT outcome FROM runs WHERE journey = 'confirm-consent'") is not None
    await stack.accept(stack.track("ada", "done"))
    await stack.until("SELECT count(*) FROM runs WHERE journey = 'offer' AND status = 'closed'")
    await stack.accept(stack.track("ada", "offered"))
    _, offer = await mails(stack, tmp_path, 2)

    unsubscribe_link = links.read(link_in(offer, "u"), "unsubscribe", datetime.now(UTC))
    assert (unsubscribe_link.person, unsubscribe_link.channel, unsubscribe_link.topic) == (person, "email", "offers")
    assert offer["List-Unsubscribe"] == f"<{BASE}/u/{link_in(offer, 'u')}>"
    assert offer["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    with pytest.raises(LinkError):
        links.read(link_in(offer, "u"), "preferences", datetime.now(UTC))

    await stack.accept(stack.identify("ada", email="other@example.com"), stack.track("ada", "done"))
    await stack.until("SELECT count(*) FROM runs WHERE journey = 'offer' AND status = 'closed'", lambda n: n == 2)
    await stack.accept(stack.track("ada", "offered"))
    await stack.until("SELECT count(*) FROM messages WHERE journey = 'offer' AND status = 'withheld'", lambda n: n == 2)


async def test_the_confirmation_mail_shows_the_catalogues_words_and_our_link_only(
    stack: LiveStack, tmp_path: Path
) -> None:
    forged: dict[str, Any] = {
        "request": "99",
        "channel": "email",
        "topic": "hacked",
        "link": "https://evil.example/",
        "wording": "Pay now",
    }
    await stack.accept(stack.track("ada", "consent_requested", **forged))
    why = "SELECT reasons->0->>'code' FROM messages WHERE status = 'withheld'"
    assert await stack.until(why) == "nothing_to_confirm"
    consent = {"email": {"no_such_topic": True, "offers": True}}
    await stack.accept(stack.identify("ada", consents=consent))
    (confirmation,) = await mails(stack, tmp_path, 1)
    text = confirmation.get_body(("plain",)).get_content()
    assert "You asked for messages about Offers at this address" in text
    assert set(re.findall(r"https?://([^/\s]+)/", text)) == {urlsplit(BASE).hostname}


async def test_no_confirmation_goes_to_an_address_that_did_not_ask(stack: LiveStack, tmp_path: Path) -> None:
    async with stack.database.transaction() as connection:
        switch = await kill_switches.engage(connection, "channel", "email", "a pause", "test")
    await stack.accept(stack.identify("ada", consents={"email": {"offers": True}}))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'deferred'")
    await stack.accept(stack.identify("ada", email="victim@example.com"))
    await kill_switches.release_switch(stack.database, switch["id"], "test")
    await stack.until("SELECT reasons->0->>'code' FROM messages", lambda code: code == "nothing_to_confirm")
    assert not list((tmp_path / "mail" / "new").iterdir())


async def test_a_link_of_an_event_leads_nowhere_that_the_policy_does_not_list(stack: LiveStack, tmp_path: Path) -> None:
    await stack.publish(TICKET, {"event.ticket_opened.ticket_id": "string"})
    for number, ticket in enumerate(("4711", "../../@evil.example", "//evil.example/#")):
        known = stack.identify(f"user-{number}", email=f"user-{number}@example.com")
        await stack.accept(known, stack.track(f"user-{number}", "ticket_opened", ticket_id=ticket))
    for mail in await mails(stack, tmp_path, 3):
        text = mail.get_body(("plain",)).get_content()
        assert set(re.findall(r"https?://([^/\s]+)/", text)) <= {"help.example.com", urlsplit(BASE).hostname}
    targets = await stack.rows("SELECT jsonb_path_query(summary, '$.links[*].url') #>> '{}' AS url FROM messages")
    assert {urlsplit(row["url"]).hostname for row in targets} == {"help.example.com"}
