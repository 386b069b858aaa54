"""The outcomes that a journey receives of its messages, without a recipient and after an opt-out."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from journeys.consent.changes import ConsentChange
from journeys.events.inbound import InboundEvent
from store.events.changes import change_consents
from tests.support.live_stack import LiveStack, live_stack
from worker.settings import ROOT

OF_ACCOUNT = """
journey: of-account
subject: account
entry: {on: contract_started, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    do: [{send: education/first-value, via: [email], for: [champion], name: hello}]
    on: {hello.withheld: unheard}
  unheard: {}
"""
OF_USER = """
journey: of-user
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting:
    on:
      ping: {do: [{send: education/first-value, via: [email], name: first}]}
      setup_completed: {do: [{send: setup/checklist, via: [email], name: second}]}
      second.withheld: unheard
  unheard: {}
"""
APART = """
consent: [{default: granted}]
cooldowns: [{name: apart, channel: email, between: PT20H}]
"""


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """The shipped templates, and a policy that keeps mails apart."""
    folder = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", folder)
    (folder / "policy.yaml").write_text(APART)
    (folder / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy
    return folder


@pytest_asyncio.fixture
async def stack(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[LiveStack]:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as stack:
        yield stack


async def test_a_journey_gets_withheld_when_nobody_has_the_role_it_writes_to(stack: LiveStack) -> None:
    await stack.publish(OF_ACCOUNT)
    await stack.accept(InboundEvent("track", "c1", "contract_started", account_id="acme"))
    await stack.until("SELECT state FROM runs", lambda state: state == "unheard")
    (outcome,) = await stack.rows("SELECT name, data->>'reason' AS reason FROM outbox WHERE name LIKE 'hello.%'")
    assert (outcome["name"], outcome["reason"]) == ("hello.withheld", "no_recipient")


async def _defer_second_mail(stack: LiveStack) -> str:
    """Send two mails, of which the second is deferred; the person's key."""
    await stack.accept(stack.track("ada", "ping"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'sent'")
    await stack.accept(stack.track("ada", "setup_completed"))
    await stack.until("SELECT count(*) FROM messages WHERE status = 'deferred'")
    return str((await stack.rows("SELECT recipient FROM messages"))[0]["recipient"])


async def _opt_out(stack: LiveStack, person: str) -> tuple[int, int]:
    change = ConsentChange("email", "onboarding", granted=False, source="test")
    effect = await change_consents(stack.database, stack.deps.catalogue, stack.deps.policy, person, [change])
    return effect.withdrawn, effect.ended


async def test_a_journey_that_goes_on_after_an_opt_out_gets_withheld_for_its_message(stack: LiveStack) -> None:
    await stack.publish(OF_USER.replace("ping: {do: [", "ping: {do: [{send: setup/first-steps, via: [in_app]}, "))
    await stack.accept(stack.identify("ada", email="ada@example.com", first_name="Ada"))
    await stack.accept(stack.track("ada", "signed_up"))
    assert await _opt_out(stack, await _defer_second_mail(stack)) == (1, 0)
    await stack.until("SELECT state FROM runs", lambda state: state == "unheard")
    (outcome,) = await stack.rows("SELECT data->>'reason' AS reason FROM outbox WHERE name = 'second.withheld'")
    assert outcome["reason"] == "consent_withdrawn"


async def test_a_journey_that_an_opt_out_ends_gets_no_withheld_outcome(stack: LiveStack) -> None:
    await stack.publish(OF_USER)
    await stack.accept(stack.identify("ada", email="ada@example.com", first_name="Ada"))
    await stack.accept(stack.track("ada", "signed_up"))
    assert await _opt_out(stack, await _defer_second_mail(stack)) == (1, 1)
    assert await stack.until("SELECT outcome FROM runs") == "opted_out"
    assert await stack.rows("SELECT 1 FROM outbox WHERE name = 'second.withheld'") == []
