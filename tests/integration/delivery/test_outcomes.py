"""What a journey hears of its own messages, also when nobody was there to write to or the person has said no."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from journeys.consent.changes import ConsentChange
from journeys.events.inbound import InboundEvent
from store.events.changes import change_consents
from tests.support.live_stack import Living, living
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
    (folder / "consent.yaml").unlink(missing_ok=True)  # it speaks of the shipped policy
    return folder


@pytest_asyncio.fixture
async def deps(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        yield found


async def test_a_journey_hears_that_nobody_has_the_role_it_writes_to(deps: Living) -> None:
    await deps.publish(OF_ACCOUNT)
    await deps.accept(InboundEvent("track", "c1", "contract_started", account_id="acme"))
    await deps.until("SELECT state FROM runs", lambda state: state == "unheard")
    (told,) = await deps.rows("SELECT name, data->>'reason' AS reason FROM outbox WHERE name LIKE 'hello.%'")
    assert (told["name"], told["reason"]) == ("hello.withheld", "no_recipient")


async def _one_mail_waits(deps: Living) -> str:
    """The second of two; the person's key."""
    await deps.accept(deps.track("ada", "ping"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'sent'")
    await deps.accept(deps.track("ada", "setup_completed"))
    await deps.until("SELECT count(*) FROM messages WHERE status = 'deferred'")
    return str((await deps.rows("SELECT recipient FROM messages"))[0]["recipient"])


async def _says_no(deps: Living, person: str) -> tuple[int, int]:
    change = ConsentChange("email", "onboarding", granted=False, source="test")
    effect = await change_consents(deps.database, deps.deps.catalogue, deps.deps.policy, person, [change])
    return effect.withdrawn, effect.ended


async def test_a_journey_that_goes_on_hears_that_a_no_took_back_its_message(deps: Living) -> None:
    await deps.publish(OF_USER.replace("ping: {do: [", "ping: {do: [{send: setup/first-steps, via: [in_app]}, "))
    await deps.accept(deps.identify("ada", email="ada@example.com", first_name="Ada"))
    await deps.accept(deps.track("ada", "signed_up"))
    assert await _says_no(deps, await _one_mail_waits(deps)) == (1, 0)
    await deps.until("SELECT state FROM runs", lambda state: state == "unheard")
    (told,) = await deps.rows("SELECT data->>'reason' AS reason FROM outbox WHERE name = 'second.withheld'")
    assert told["reason"] == "consent_withdrawn"


async def test_a_journey_that_a_no_ends_hears_only_of_its_end(deps: Living) -> None:
    await deps.publish(OF_USER)
    await deps.accept(deps.identify("ada", email="ada@example.com", first_name="Ada"))
    await deps.accept(deps.track("ada", "signed_up"))
    assert await _says_no(deps, await _one_mail_waits(deps)) == (1, 1)
    assert await deps.until("SELECT outcome FROM runs") == "opted_out"
    assert await deps.rows("SELECT 1 FROM outbox WHERE name = 'second.withheld'") == []
