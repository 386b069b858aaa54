"""The apprise channel: class C; a profile field fills only the part of the URL that is reserved for it."""

from __future__ import annotations

import io
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
import structlog
from starlette.responses import Response

from activities.channels.apprise import AppriseChannel, AppriseSettings
from activities.content.tracked_links import ClickLinks
from activities.ports import Ambiguity, AttemptResult, Outgoing, Promise, TemplateFault
from tests.support.provider import templates
from worker.logs.configuration import configure_logging
from worker.stack.providers.app import Vendor, VendorRequest
from worker.stack.providers.faults import ProviderFault
from worker.stack.providers.serving import LocalProvider, local_provider


async def take(request: VendorRequest) -> Response:
    request.accepted.add("tail", to=request.path("who"), content=request.json)
    return Response(status_code=200)


TAIL = Vendor("tail", (("POST", "/{who:path}", take),), lambda _, code: {"error": code})


@pytest_asyncio.fixture
async def local() -> AsyncIterator[LocalProvider]:
    async with local_provider(vendors=(TAIL,)) as made:
        yield made


@pytest.fixture
def channel(local: LocalProvider, tmp_path) -> AppriseChannel:
    url = f"json://{local.origin}/tail/{{address}}"
    return AppriseChannel(templates(tmp_path), AppriseSettings(url, "matrix_id"))


def message(address: str) -> Outgoing:
    return Outgoing("k", "export/ready", address, {"first_name": "Ada"}, {}, {}, "notices")


async def test_a_message_goes_to_the_address_in_the_persons_profile_field(local, channel):
    assert channel.address({"matrix_id": "ada"}, "u") == "ada"
    assert channel.address({"matrix_id": None}, "u") is None
    assert (await channel.deliver(channel.prepare(message("ada")), "k")).result is AttemptResult.SENT
    (item,) = local.provider.accepted.items
    assert (item["to"], item["content"]["title"]) == ("ada", "Your export is ready, Ada")


@pytest.mark.parametrize("address", ["../../admin", "a?b=c", "a#b", "a@evil.example:80/x", "a/b", "a b"])
async def test_an_address_cannot_change_the_host_or_path_of_the_url(local, channel, address):
    await channel.deliver(channel.prepare(message(address)), "k")
    assert [item["provider"] for item in local.provider.accepted.items] == ["tail"]


async def test_a_failed_notification_is_unknown_because_it_may_have_arrived(local, channel):
    local.provider.faults.add(ProviderFault(provider="tail", kind="status", status=500))
    receipt = await channel.deliver(channel.prepare(message("ada")), "k")
    assert (receipt.result, receipt.outage) == (AttemptResult.UNKNOWN, True)
    assert (channel.promise, channel.ambiguity) == (Promise.BLIND, Ambiguity.AT_MOST_ONCE)


async def test_an_attempt_past_its_deadline_sends_nothing(local, channel):
    late = replace(channel.prepare(message("ada")), until=datetime.now(UTC) - timedelta(seconds=1))
    assert (await channel.deliver(late, "k")).result is AttemptResult.TRY_AGAIN
    assert not local.provider.accepted.items


@pytest.mark.parametrize("url", ["", "json://host/everyone", "nonsense://{address}"])
def test_an_invalid_url_is_refused_at_the_start(url):
    with pytest.raises(ValueError, match="apprise"):
        AppriseSettings(url, "matrix_id")


@pytest.mark.parametrize(
    "url", ["json://{address}/x", "jsons://{address}:8443/x", "json://u:p@{address}", "json://{address}.example/x?a=b"]
)
def test_a_url_with_the_address_in_its_host_is_refused(url):
    with pytest.raises(ValueError, match="in its host"):
        AppriseSettings(url, "matrix_id")
    assert AppriseSettings("pover://{address}@token", "matrix_id")


async def test_M1_a_link_sent_by_apprise_is_tracked(local, tmp_path):
    clicks = ClickLinks(("a secret of at least sixteen",), "https://l.example")
    settings = AppriseSettings(f"json://{local.origin}/tail/{{address}}", "matrix_id", clicks=clicks)
    channel = AppriseChannel(templates(tmp_path), settings)
    prepared = channel.prepare(message("ada"))
    assert (await channel.deliver(prepared, "k")).result is AttemptResult.SENT
    (item,) = local.provider.accepted.items
    assert clicks.read(item["content"]["message"].rpartition("/c/")[2].strip()) == (prepared.reference, 0)
    assert prepared.summary["links"] == [{"url": "https://app.example.com/exports"}]


async def test_C7_an_interrupting_service_accepts_only_time_sensitive_templates(local, tmp_path):
    url, known = f"json://{local.origin}/tail/{{address}}", templates(tmp_path)
    calm = replace(message("ada"), template="export/calm")
    assert AppriseChannel(known, AppriseSettings(url, "matrix_id")).prepare(calm)
    interrupting = AppriseChannel(known, AppriseSettings(url, "matrix_id", time_sensitive=True))
    assert interrupting.prepare(message("ada"))
    with pytest.raises(TemplateFault, match="time-sensitive"):
        interrupting.prepare(calm)


@pytest.fixture
def logged(monkeypatch) -> Iterator[Callable[[], str]]:
    """The log output so far, with logging configured as in a process; the configuration is restored afterwards."""
    root, kept, output = logging.getLogger(), structlog.get_config(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    configure_logging("json")
    yield output.getvalue
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**kept)


@pytest.mark.parametrize("status", [200, 500])
async def test_the_logs_contain_no_recipient_address(local, channel, status, logged):
    if status == 500:
        local.provider.faults.add(ProviderFault(provider="tail", kind="status", status=500))
    number = "+4915112345678"
    await channel.deliver(channel.prepare(message(number)), "k")
    logging.getLogger("apprise").info("Sent Twilio notification to %s.", number)
    logging.getLogger("urllib3.connectionpool").warning("Failed to parse headers (url=https://x.example/%s)", number)
    logging.getLogger("elsewhere").warning("this is logged")
    output = logged()
    assert "this is logged" in output
    assert "4915112345678" not in output
