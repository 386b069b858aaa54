"""Connection limits per provider: a hanging provider or browser push service takes no connection from another."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from activities.outgoing.client import CONNECTIONS
from activities.outgoing.guarded_channel import GuardedChannel
from activities.ports import AttemptResult, Channel
from tests.support.own_keys import OWN_KEYS
from tests.support.provider import google_key, outgoing, templates, vapid_key
from worker.composition.channels import configured_channels
from worker.composition.providers import PUSH_CONNECTIONS, PUSH_CONNECTIONS_PER_HOST
from worker.provider_settings import load_providers
from worker.settings import PREFIX, Settings
from worker.stack.providers.environment import local_environ
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.serving import LocalProvider

KEY = "journey/j/u_1/-/1#s.1/send.1>u_1"
PROMPT = 5.0
"""Seconds. A call that waited for another attempt to end would take longer: an attempt has fifteen."""


@pytest_asyncio.fixture
async def channels(local: LocalProvider, tmp_path: Path) -> AsyncIterator[Mapping[str, Channel]]:
    """Every channel as an operator configures it, with `providers_near` off."""
    for name, key in (("fcm", google_key()), ("vapid", vapid_key())):
        (tmp_path / f"{name}.pem").write_text(key)
    templates(tmp_path / "templates")
    values = {name.removeprefix(PREFIX).lower(): value for name, value in local_environ(local.url).items()}
    values |= {"providers_near": "false", "outgoing_allow": f"{local.origin},{elsewhere(local)}"}
    given = load_providers(
        **values, fcm_project="p", fcm_email="svc@p.example", fcm_key_file=tmp_path / "fcm.pem",
        fcm_base=f"{local.url}/fcm", fcm_token_url=f"{local.url}/fcm/token",
        vapid_key_file=tmp_path / "vapid.pem", vapid_contact="mailto:ops@tenure.example",
    )  # fmt: skip
    configured = configured_channels(
        Settings(smtp_url="smtp://127.0.0.1:9", environment="production", catalog=tmp_path, **OWN_KEYS), given
    )
    yield configured
    for channel in configured.values():
        await channel.close()


def elsewhere(local: LocalProvider) -> str:
    """The same server under another host name."""
    return local.origin.replace("127.0.0.1", "localhost")


async def deliver(channel: Channel, address: str = "") -> AttemptResult:
    assert isinstance(channel, GuardedChannel)
    message = outgoing(channel.channel)  # type: ignore[arg-type]
    prepared = channel.prepare(replace(message, address=address or message.address))
    return (await channel.deliver(prepared, KEY)).result


@contextlib.asynccontextmanager
async def hanging(
    local: LocalProvider, calls: int, reached: int, channel: Channel, address: str = ""
) -> AsyncIterator[None]:
    """Keep `calls` attempts in flight without an answer; `reached` of them are at the provider."""
    before = local.provider.faults.happened
    tasks = [asyncio.create_task(deliver(channel, address)) for _ in range(calls)]
    async with asyncio.timeout(PROMPT):
        while local.provider.faults.happened - before < reached:
            await asyncio.sleep(0.01)
    yield
    assert not any(task.done() for task in tasks), "they still hang"
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("name", ["sms", "webhook", "support", "webinar", "push"])
async def test_a_hanging_provider_does_not_delay_another_provider(local, channels, name):
    local.provider.faults.add(ProviderFault(provider="slack", kind="hang", times=None))
    async with hanging(local, CONNECTIONS + 16, CONNECTIONS, channels["chat"]), asyncio.timeout(PROMPT):
        assert await deliver(channels[name]) is AttemptResult.SENT


def browser(origin: str, device: str) -> dict[str, Any]:
    keys = {"p256dh": POINT, "auth": "MDEyMzQ1Njc4OWFiY2RlZg"}
    return {"push_subscription": {"endpoint": f"http://{origin}/webpush/{device}", "keys": keys}}


POINT = "BGsX0fLhLEJH-Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"
"""The generator of P-256, which is a valid browser key."""


async def test_a_hanging_browser_push_service_delays_neither_other_browsers_nor_apps(local, channels):
    push = channels["push"]
    bad = push.address(browser(local.origin, "hanging"), "u_1")
    good = push.address(browser(elsewhere(local), "well"), "u_1")
    assert bad
    assert good
    local.provider.faults.add(ProviderFault(provider="webpush", kind="hang", times=None, to="hanging"))
    async with hanging(local, PUSH_CONNECTIONS + 16, PUSH_CONNECTIONS_PER_HOST, push, bad), asyncio.timeout(PROMPT):
        assert await deliver(push, good) is AttemptResult.SENT
        assert await deliver(push) is AttemptResult.SENT, "an app by FCM"
        assert local.provider.faults.happened == PUSH_CONNECTIONS_PER_HOST, "the others wait for a connection"
