"""Consent all the way, on real parts: the confirmation mail goes through gate and ledger, and a mail's own link leads out."""

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
from tests.support.live_stack import Living, living, until
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
async def deps(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Living]:
    monkeypatch.setenv("TENURE_PUBLIC_URL", BASE)
    async with living(database_url, temporal_address, task_queue, tmp_path) as found:
        await found.publish(OFFER)
        await found.publish(
            (ROOT / "catalog" / "journeys" / "confirm-consent.yaml").read_text(), shipped_catalog.plan().types()
        )
        await found.accept(found.identify("ada", email="ada@example.com", first_name="Ada"))
        yield found


async def mails(deps: Living, tmp_path: Path, count: int) -> list[EmailMessage]:
    async def arrived() -> list[Path]:
        return sorted((tmp_path / "mail" / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)

    paths = await until(arrived, lambda found: len(found) == count)
    return [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in paths]


def link_in(mail: EmailMessage, path: str) -> str:
    body = mail.get_body(("plain",))
    assert body is not None
    found = re.findall(rf"{re.escape(BASE)}/{path}/(\S+)", body.get_content())
    assert len(found) == 1
    return str(found[0])


async def test_C5_double_opt_in_from_the_form_to_the_first_message_and_out_again(deps: Living, tmp_path: Path) -> None:
    person = (await deps.rows("SELECT key FROM subjects"))[0]["key"]
    catalogue, policy, links = deps.deps.catalogue, deps.deps.policy, deps.deps.catalogue.consent.links
    yes = ConsentChange("email", "offers", granted=True, source="form", wording="Send me offers")
    effect = await change_consents(deps.database, catalogue, policy, person, [yes])
    assert effect.pending == (("email", "offers"),)

    (asked,) = await mails(deps, tmp_path, 1)
    assert asked["Subject"] == "Please confirm your subscription"
    ledger = await deps.rows("SELECT journey, status, priority FROM messages")
    assert [(row["journey"], row["priority"]) for row in ledger] == [("confirm-consent", "transactional")]

    await deps.accept(deps.track("ada", "offered"))
    await deps.until("SELECT count(*) FROM messages WHERE journey = 'offer' AND status = 'withheld'", lambda n: n == 1)

    link = links.read(link_in(asked, "y"), "confirm", datetime.now(UTC))
    await confirm_consent(deps.database, catalogue, link, {"by": "test"})
    assert await deps.until("SELECT outcome FROM runs WHERE journey = 'confirm-consent'") is not None
    await deps.accept(deps.track("ada", "done"))
    await deps.until("SELECT count(*) FROM runs WHERE journey = 'offer' AND status = 'closed'")
    await deps.accept(deps.track("ada", "offered"))
    _, offer = await mails(deps, tmp_path, 2)

    out = links.read(link_in(offer, "u"), "unsubscribe", datetime.now(UTC))
    assert (out.person, out.channel, out.topic) == (person, "email", "offers")
    assert offer["List-Unsubscribe"] == f"<{BASE}/u/{link_in(offer, 'u')}>"
    assert offer["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    with pytest.raises(LinkError):
        links.read(link_in(offer, "u"), "preferences", datetime.now(UTC))
