"""The long tail through apprise: class C, and a person's field can be no more than one part of an address."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from starlette.responses import Response

from activities.channels.long_tail import LongTailChannel, LongTailSettings
from activities.ports import Ambiguity, Delivered, Outgoing, Promise
from tests.providing import templates
from worker.stack.providers.app import Asked, Vendor
from worker.stack.providers.faults import Fault
from worker.stack.providers.serving import Local, serving


async def take(asked: Asked) -> Response:
    asked.kept.add("tail", to=asked.path("who"), content=asked.json)
    return Response(status_code=200)


TAIL = Vendor("tail", (("POST", "/{who:path}", take),), lambda _, code: {"error": code})


@pytest_asyncio.fixture
async def local() -> AsyncIterator[Local]:
    async with serving(vendors=(TAIL,)) as made:
        yield made


@pytest.fixture
def channel(local: Local, tmp_path) -> LongTailChannel:
    url = f"json://{local.origin}/tail/{{address}}"
    return LongTailChannel(templates(tmp_path), LongTailSettings(url, "matrix_id"))


def message(address: str) -> Outgoing:
    return Outgoing("k", "export/ready", address, {"first_name": "Ada"}, {}, {}, "notices")


async def test_a_message_goes_to_the_field_of_the_person(local, channel):
    assert channel.address({"matrix_id": "ada"}, "u") == "ada"
    assert channel.address({"matrix_id": None}, "u") is None
    assert (await channel.deliver(channel.prepare(message("ada")), "k")).result is Delivered.SENT
    (item,) = local.provider.kept.items
    assert (item["to"], item["content"]["title"]) == ("ada", "Your export is ready, Ada")


@pytest.mark.parametrize("address", ["../../admin", "a?b=c", "a#b", "a@evil.example:80/x", "a/b", "a b"])
async def test_what_a_person_writes_cannot_change_where_it_goes(local, channel, address):
    await channel.deliver(channel.prepare(message(address)), "k")
    assert [item["provider"] for item in local.provider.kept.items] == ["tail"]


async def test_a_no_may_be_a_yes_of_which_nobody_heard(local, channel):
    local.provider.faults.add(Fault(provider="tail", kind="status", status=500))
    found = await channel.deliver(channel.prepare(message("ada")), "k")
    assert (found.result, found.outage) == (Delivered.UNKNOWN, True)
    assert (channel.promise, channel.ambiguity) == (Promise.BLIND, Ambiguity.AT_MOST_ONCE)


async def test_nothing_leaves_after_the_attempts_time(local, channel):
    late = replace(channel.prepare(message("ada")), until=datetime.now(UTC) - timedelta(seconds=1))
    assert (await channel.deliver(late, "k")).result is Delivered.TRY_AGAIN
    assert not local.provider.kept.items


@pytest.mark.parametrize("url", ["", "json://host/everyone", "nonsense://{address}"])
def test_an_address_that_is_none_is_told_at_the_start(url):
    with pytest.raises(ValueError, match="apprise"):
        LongTailSettings(url, "matrix_id")
