"""Outside production only an allow-list receives; a sink and the inbox reach nobody, so they stay open."""

from __future__ import annotations

from pathlib import Path

import pytest

from activities.channels.allow_list import NOT_LISTED, AllowList
from activities.ports import AttemptResult, Outgoing, Prepared, RecipientNotAllowed
from worker.composition.channels import configured_channels
from worker.composition.mail import tracked_links
from worker.provider_settings import ProviderSettings
from worker.settings import SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("clean_environment")
SMTP = {"smtp_url": "smtp://127.0.0.1:9"}


def outgoing(to: str) -> Outgoing:
    return Outgoing("k", "education/first-value", to, {}, {}, {})


@pytest.mark.parametrize(
    ("patterns", "address", "allowed"),
    [
        (["me@example.com"], "ME@example.com", True),
        (["me@example.com"], "not-me@example.com", False),
        (["*@example.com"], "anyone@example.com", True),
        (["*@example.com"], "anyone@example.com.evil.example", False),
        (["+49*"], "+491234", True),
        ([], "me@example.com", False),
    ],
)
def test_who_may_receive(patterns, address, allowed):
    assert AllowList(patterns).allows(address) is allowed


async def test_outside_production_whoever_is_not_listed_gets_nothing_and_the_reason_says_so():
    mail = configured_channels(load_settings(**SMTP, allowed_recipients="me@example.com, *@test.example"))["email"]
    for to in ("me@example.com", "x@test.example"):
        assert mail.prepare(outgoing(to)).address == to
    with pytest.raises(RecipientNotAllowed, match="TENURE_ALLOWED_RECIPIENTS"):
        mail.prepare(outgoing("ada@example.com"))
    receipt = await mail.deliver(Prepared("r", "ada@example.com", b"x"), "k")
    assert (receipt.result, receipt.detail) == (AttemptResult.REFUSED, NOT_LISTED)


@pytest.mark.parametrize(
    "settings",
    [
        {"environment": "production"},
        {"smtp_lookup": Path("/nowhere")},  # our own sink, on this machine
    ],
)
def test_in_production_and_into_the_sink_everybody_is_written_to(settings):
    assert configured_channels(load_settings(**SMTP, **settings))["email"].prepare(outgoing("ada@example.com"))


def test_a_far_relay_that_can_be_searched_is_no_sink():
    settings = load_settings(smtp_url="smtp://192.0.2.7", smtp_lookup=Path("/nowhere"))
    with pytest.raises(RecipientNotAllowed):
        configured_channels(settings)["email"].prepare(outgoing("ada@example.com"))


def test_a_sink_beside_resend_opens_nothing_for_mails_do_not_go_there():
    settings = load_settings(**SMTP, smtp_lookup=Path("/nowhere"), allowed_recipients="me@example.com")
    mail = configured_channels(settings, ProviderSettings(resend_key="re_1"))["email"]
    assert mail.prepare(outgoing("me@example.com"))
    with pytest.raises(RecipientNotAllowed):
        mail.prepare(outgoing("ada@example.com"))


def test_the_inbox_is_open_everywhere():
    assert configured_channels(load_settings(**SMTP))["in_app"].prepare(outgoing("u_1"))


def test_clicks_are_told_wherever_customers_reach_us():
    assert tracked_links(load_settings()) is None
    assert (
        tracked_links(load_settings(public_url="https://t.example")).address("k", 0).startswith("https://t.example/c/")
    )
    apart = load_settings(public_url="https://t.example", link_base="https://l.example")
    assert tracked_links(apart).address("k", 0).startswith("https://l.example/c/")
    with pytest.raises(SettingsError, match="is no web address"):
        load_settings(link_base="l.example")
