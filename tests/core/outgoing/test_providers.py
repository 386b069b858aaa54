"""Channels by the provider settings that an operator has configured."""

from __future__ import annotations

import pytest

from activities.channels.email.resend import ResendChannel
from activities.channels.email.smtp import EmailChannel
from activities.outgoing.guarded_channel import GuardedChannel
from activities.ports import Outgoing, TemplateFault
from tests.support.own_keys import OWN_KEYS
from tests.support.provider import google_key, vapid_key
from worker.composition.channels import configured_channels
from worker.provider_settings import ProviderSettings, is_configured, load_providers, read_rates
from worker.settings import Settings, SettingsError, load_settings
from worker.stack.providers.environment import local_environ

pytestmark = pytest.mark.usefixtures("clean_environment")
SETTINGS = Settings(smtp_url="smtp://127.0.0.1:2525", environment="production", **OWN_KEYS)


def test_without_provider_settings_the_channels_are_smtp_and_the_inbox():
    channels = configured_channels(SETTINGS, load_providers())
    assert sorted(channels) == ["email", "in_app"]
    assert isinstance(channels["email"], GuardedChannel)
    assert isinstance(channels["email"].channel, EmailChannel)


def test_the_local_environment_configures_every_channel_of_the_local_provider(monkeypatch):
    assert not is_configured(load_providers())
    for name, value in local_environ("http://127.0.0.1:9000").items():
        monkeypatch.setenv(name, value)
    providers = load_providers()
    assert sorted(configured_channels(SETTINGS, providers)) == [
        "chat",
        "email",
        "in_app",
        "sms",
        "support",
        "webhook",
        "webinar",
    ]
    assert providers.allowed == {"127.0.0.1:9000"}
    assert is_configured(providers)


def test_resend_replaces_smtp():
    channels = configured_channels(SETTINGS, ProviderSettings(resend_key="re_1"))
    assert isinstance(channels["email"].channel, ResendChannel)


def test_production_needs_a_provider_for_mails_and_resend_alone_is_enough():
    settings = Settings(environment="production", **OWN_KEYS)
    assert isinstance(
        configured_channels(settings, ProviderSettings(resend_key="re_1"))["email"].channel, ResendChannel
    )
    with pytest.raises(SettingsError, match=r"TENURE_SMTP_URL.*TENURE_RESEND_KEY"):
        configured_channels(settings, ProviderSettings())


def test_push_works_with_fcm_or_web_push_and_apprise_has_a_channel_of_its_own(tmp_path):
    (tmp_path / "fcm.pem").write_text(google_key())
    (tmp_path / "vapid.pem").write_text(vapid_key())
    fcm = ProviderSettings(fcm_project="p", fcm_email="e@p", fcm_key_file=tmp_path / "fcm.pem")
    web = ProviderSettings(vapid_key_file=tmp_path / "vapid.pem", vapid_contact="mailto:ops@x.example")
    apprise = ProviderSettings(
        apprise_url="json://host.example/{address}", apprise_field="matrix_id", apprise_time_sensitive=True
    )
    person = {"push_token": "t", "push_subscription": None, "matrix_id": "m"}
    assert configured_channels(SETTINGS, fcm)["push"].address(person, "u") == "t"
    assert configured_channels(SETTINGS, web)["push"].address(person, "u") is None
    channel = configured_channels(SETTINGS, apprise)["apprise"]
    assert channel.address(person, "u") == "m"
    with pytest.raises(TemplateFault, match="time-sensitive"):
        channel.prepare(Outgoing("k", "setup/first-steps", "m", {}, {}, {}))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("chat", {"slack_token": "x", "slack_channel": "C0TEAM"}),
        ("apprise", {"apprise_url": "json://host.example/{address}", "apprise_field": "matrix_id"}),
        ("email", {"resend_key": "re_1"}),
    ],
)
def test_M1_links_are_tracked_on_every_channel_if_there_is_a_public_url(name, given):
    profile = {"first_name": "Ada", "use_case": "reports"}
    message = Outgoing("k", "setup/first-steps", "ada@example.com", profile, {"name": "Acme"}, {"plan": "pro"})
    public = SETTINGS.model_copy(update={"public_url": "https://t.example"})
    for settings, links in ((public, 1), (SETTINGS, 0)):
        prepared = configured_channels(settings, ProviderSettings(**given))[name].prepare(message)
        assert len(prepared.summary.get("links", [])) >= links
        assert (b"https://t.example/c/" in prepared.body) == bool(links)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"TENURE_TWILIO_ACCOUNT": "AC1"}, "TENURE_TWILIO_TOKEN and TENURE_TWILIO_FROM"),
        ({"TENURE_SLACK_TOKEN": "x"}, "TENURE_SLACK_CHANNEL"),
        ({"TENURE_DKIM_SELECTOR": "s"}, "TENURE_DKIM_KEY_FILE"),
        ({"TENURE_PROVIDER_RATES": "sms=fast"}, "not a rate"),
        ({"TENURE_PROVIDER_RATES": "sms=0"}, "not a rate"),
    ],
)
def test_incomplete_or_invalid_provider_settings_are_reported_on_start(monkeypatch, given, words):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=words):
        load_providers()


def test_an_invalid_key_file_is_reported_on_start_without_its_content(tmp_path):
    (tmp_path / "key.pem").write_text("secret nonsense")
    for given in (
        ProviderSettings(vapid_key_file=tmp_path / "key.pem", vapid_contact="mailto:x@x.example"),
        ProviderSettings(dkim_key_file=tmp_path / "key.pem", dkim_selector="s"),
    ):
        with pytest.raises(SettingsError) as refused:
            configured_channels(SETTINGS, given)
        assert "nonsense" not in str(refused.value)


def test_rates_are_read_with_their_bursts():
    rates = read_rates("sms=10, email=0.5,chat=20/100")
    assert [(name, rate.per_second, rate.burst) for name, rate in rates.items()] == [
        ("sms", 10, 10),
        ("email", 0.5, 1),
        ("chat", 20, 100),
    ]


def test_the_repr_of_provider_settings_contains_no_secret():
    assert "re_1" not in repr(ProviderSettings(resend_key="re_1"))
    assert load_settings().local_provider
