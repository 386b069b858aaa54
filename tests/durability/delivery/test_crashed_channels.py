"""A worker crashes around an attempt on every channel: ledger and provider keep the promise of its class.

The two points: `sending` is committed and nothing has left; the provider has accepted and that is not recorded.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from activities.ports import Promise
from store.database import execute, sql
from store.outbox import queue as outbox
from tests.support.live_stack import LiveStack, live_stack
from tests.support.provider import ADA, URGENT, VENDORS, google_key
from worker.settings import ROOT
from worker.stack.providers.environment import KEY, local_environ
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.serving import LocalProvider

SEND = "      - {{send: export/ready, name: by-{0}, via: [{0}], data: {{webinar_id: \"'987654321'\"}}}}\n"
EVERYWHERE = (
    "journey: everywhere\nentry: {on: signed_up, again: never}\npriority: transactional\nstart: here\nstates:\n"
    "  here:\n    do:\n" + "".join(SEND.format(name) for name in sorted(VENDORS)) + "    on: {setup_completed: done}\n"
    "  done: {final: done}\n"
)
_DIES = sql(
    """
    UPDATE messages SET status = 'sending', lease_until = now() - interval '1 minute', due_at = NULL, settled_at = NULL
    """
)
COUNTED = "SELECT count(*) FROM messages WHERE status = ANY(CAST(:statuses AS text[]))"
ONCE = {
    "before": {"email": 1, "webhook": 1, "chat": 1, "support": 1, "webinar": 1, "sms": 0, "push": 1},
    "after": {"email": 1, "webhook": 1, "chat": 1, "support": 1, "webinar": 1, "sms": 1, "push": 2},
}
"""How often each message is at its provider in the end. Push is sent again on purpose: a device shows one per tag."""


@pytest_asyncio.fixture(params=[True, False], ids=["in the step", "on its queue"])
async def stack(
    request, local, database_url, temporal_address, task_queue, tmp_path: Path, monkeypatch
) -> AsyncIterator[LiveStack]:
    catalog = tmp_path / "catalog"
    shutil.copytree(ROOT / "catalog", catalog)
    (catalog / "policy.yaml").write_text("consent: [{default: granted}]\n")
    (catalog / "templates" / "export").mkdir()
    (catalog / "templates" / "export" / "ready.md").write_text(URGENT)
    (tmp_path / "fcm.pem").write_text(google_key())
    more = {
        "RESEND_KEY": KEY, "RESEND_BASE": f"{local.url}/resend", "FCM_PROJECT": "p", "FCM_EMAIL": "svc@p.example",
        "FCM_KEY_FILE": str(tmp_path / "fcm.pem"), "FCM_BASE": f"{local.url}/fcm", "FCM_TOKEN_URL": f"{local.url}/fcm/token",
    }  # fmt: skip
    near = {"TENURE_PROVIDERS_NEAR": str(request.param)}
    for name, value in {**local_environ(local.url), **{f"TENURE_{k}": v for k, v in more.items()}, **near}.items():
        monkeypatch.setenv(name, value)
    where = (database_url, temporal_address, task_queue, tmp_path)
    async with live_stack(*where, catalog=catalog, near=request.param) as stack:
        yield stack
        for channel in stack.deps.channels.values():
            await channel.close()


def taken(local: LocalProvider) -> dict[str, int]:
    return {name: len(local.provider.accepted.search(provider=vendor)) for name, vendor in VENDORS.items()}


async def crash_with_attempts_in_flight(stack: LiveStack) -> None:
    """Set every message to an attempt in flight with an expired lease, and wake the outreach."""
    async with stack.database.transaction() as connection:
        await execute(connection, _DIES)
        (person,) = {row["recipient"] for row in await stack.rows("SELECT DISTINCT recipient FROM messages")}
        await outbox.wake_outreach(connection, person)


@pytest.mark.slow
async def test_a_crash_after_acceptance_keeps_the_promise_of_each_class(stack: LiveStack, local: LocalProvider) -> None:
    await stack.publish(EVERYWHERE)
    await stack.accept(stack.identify("ada", **ADA), stack.track("ada", "signed_up"))
    await stack.until(COUNTED, lambda n: n == len(VENDORS), statuses=["sent"])
    assert set(taken(local).values()) == {1}
    await crash_with_attempts_in_flight(stack)
    await stack.until(COUNTED, lambda n: n == len(VENDORS), statuses=["sent", "unknown"])
    await assert_promises_kept(stack, local, "after")


@pytest.mark.slow
async def test_a_crash_before_sending_keeps_the_promise_of_each_class(stack: LiveStack, local: LocalProvider) -> None:
    await stack.publish(EVERYWHERE)
    local.provider.faults.add(ProviderFault(kind="status", status=503, times=None))
    await stack.accept(stack.identify("ada", **ADA), stack.track("ada", "signed_up"))
    await stack.until(COUNTED, lambda n: n == len(VENDORS), statuses=["deferred"])
    local.provider.faults.clear()
    await crash_with_attempts_in_flight(stack)
    await stack.until(COUNTED, lambda n: n == len(VENDORS), statuses=["sent", "unknown"])
    await assert_promises_kept(stack, local, "before")


async def assert_promises_kept(stack: LiveStack, local: LocalProvider, point: str) -> None:
    rows = await stack.rows("SELECT channel, status FROM messages")
    assert {row["channel"] for row in rows if row["status"] == "unknown"} == {"sms"}
    assert stack.deps.channels["sms"].promise is Promise.BLIND
    assert taken(local) == ONCE[point]
    tags = {item["key"] for item in local.provider.accepted.search(provider="fcm")}
    assert len(tags) == 1
