"""What a journey hears of its own messages, also when nobody was there to write to or the person has said no."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from journeys.events.segment import Incoming
from store.consent.consents import Change, change_consent
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
async def house(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path, catalog: Path
) -> AsyncIterator[Living]:
    async with living(database_url, temporal_address, task_queue, tmp_path, catalog=catalog) as found:
        yield found


async def test_a_journey_hears_that_nobody_has_the_role_it_writes_to(house: Living) -> None:
    await house.publish(OF_ACCOUNT)
    await house.accept(Incoming("track", "c1", "contract_started", account_id="acme"))
    await house.until("SELECT state FROM runs", lambda state: state == "unheard")
    (told,) = await house.rows("SELECT name, data->>'reason' AS reason FROM outbox WHERE name LIKE 'hello.%'")
    assert (told["name"], told["reason"]) == ("hello.withheld", "no_recipient")


async def _one_mail_waits(house: Living) -> str:
    """The second of two; the person's key."""
    await house.accept(house.track("ada", "ping"))
    await house.until("SELECT count(*) FROM messages WHERE status = 'sent'")
    await house.accept(house.track("ada", "setup_completed"))
    await house.until("SELECT count(*) FROM messages WHERE status = 'deferred'")
    return str((await house.rows("SELECT recipient FROM messages"))[0]["recipient"])


async def _says_no(house: Living, person: str) -> tuple[int, int]:
    change = Change("email", "onboarding", granted=False, source="test")
    effect = await change_consent(house.database, house.house.catalogue, house.house.policy, person, change)
    return effect.withdrawn, effect.ended


async def test_a_journey_that_goes_on_hears_that_a_no_took_back_its_message(house: Living) -> None:
    await house.publish(OF_USER.replace("ping: {do: [", "ping: {do: [{send: setup/first-steps, via: [in_app]}, "))
    await house.accept(house.identify("ada", email="ada@example.com", first_name="Ada"))
    await house.accept(house.track("ada", "signed_up"))
    assert await _says_no(house, await _one_mail_waits(house)) == (1, 0)
    await house.until("SELECT state FROM runs", lambda state: state == "unheard")
    (told,) = await house.rows("SELECT data->>'reason' AS reason FROM outbox WHERE name = 'second.withheld'")
    assert told["reason"] == "consent_withdrawn"


async def test_a_journey_that_a_no_ends_hears_only_of_its_end(house: Living) -> None:
    await house.publish(OF_USER)
    await house.accept(house.identify("ada", email="ada@example.com", first_name="Ada"))
    await house.accept(house.track("ada", "signed_up"))
    assert await _says_no(house, await _one_mail_waits(house)) == (1, 1)
    assert await house.until("SELECT outcome FROM runs") == "opted_out"
    assert await house.rows("SELECT 1 FROM outbox WHERE name = 'second.withheld'") == []
