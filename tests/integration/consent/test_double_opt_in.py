"""Double opt-in end to end: the confirmation mail passes the gate, and the link of a mail unsubscribes."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path

import pytest
import pytest_asyncio

from journeys.consent.changes import ConsentChange
from journeys.tokens.signed_links import LinkError
from store.events.changes import change_consents, confirm_consent
from tests.support import shipped_catalog
from tests.support.live_stack import LiveStack, live_stack, until
from tests.support.own_keys import OWN_ENVIRONMENT
from worker.settings import ROOT

BASE = "https://hello.acme.example"
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
