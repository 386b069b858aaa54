"""Outside production only listed recipients receive messages, except through the local sink and the inbox."""

from __future__ import annotations

from pathlib import Path

import pytest

from activities.channels.allow_list import NOT_LISTED, AllowList
from activities.ports import AttemptResult, Outgoing, Prepared, RecipientNotAllowed
from tests.support.own_keys import OWN_KEYS
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
def test_a_pattern_allows_whole_addresses_regardless_of_case(patterns, address, allowed):
    assert AllowList(patterns).allows(address) is allowed


async def test_outside_production_a_recipient_that_is_not_listed_is_refused_with_the_reason():
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
        {"environment": "production", **OWN_KEYS},
        {"smtp_lookup": Path("/nowhere")},  # the local sink
    ],
)
def test_in_production_and_with_the_local_sink_every_recipient_is_allowed(settings):
    assert configured_channels(load_settings(**SMTP, **settings))["email"].prepare(outgoing("ada@example.com"))


def test_a_remote_relay_with_a_lookup_folder_is_no_sink():
    settings = load_settings(smtp_url="smtp://192.0.2.7", smtp_lookup=Path("/nowhere"))
    with pytest.raises(RecipientNotAllowed):
        configured_channels(settings)["email"].prepare(outgoing("ada@example.com"))


def test_a_local_sink_beside_resend_does_not_lift_the_allow_list():
    settings = load_settings(**SMTP, smtp_lookup=Path("/nowhere"), allowed_recipients="me@example.com")
    mail = configured_channels(settings, ProviderSettings(resend_key="re_1"))["email"]
    assert mail.prepare(outgoing("me@example.com"))
    with pytest.raises(RecipientNotAllowed):
        mail.prepare(outgoing("ada@example.com"))


def test_the_inbox_accepts_every_recipient_in_every_environment():
    assert configured_channels(load_settings(**SMTP))["in_app"].prepare(outgoing("u_1"))


def test_clicks_are_tracked_where_a_public_url_or_a_link_base_is_set():
    assert tracked_links(load_settings()) is None
    assert (
        tracked_links(load_settings(public_url="https://t.example", **OWN_KEYS))
        .address("k", 0)
        .startswith("https://t.example/c/")
    )
    separate = load_settings(public_url="https://t.example", link_base="https://l.example", **OWN_KEYS)
    assert tracked_links(separate).address("k", 0).startswith("https://l.example/c/")
    with pytest.raises(SettingsError, match="is not a web address"):
        load_settings(link_base="l.example")
