"""Settings say what is wrong, whose turn it is, and keep the development keys at home."""

from email import message_from_bytes
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from activities.ports import Ambiguity, Outgoing, Promise
from journeys.consent.rules import DEV_KEY
from worker.composition.catalog import consent_rules
from worker.composition.channels import configured_channels
from worker.settings import SettingsError, load_settings
from workflows.limits import QUEUED_TIMEOUT, STEP_TIMEOUT

LONG = "k" * 32
OWN = {"write_key": "mine", "operator_key": "mine-too", "link_keys": LONG, "address_keys": f"{LONG},{LONG}"}
pytestmark = pytest.mark.usefixtures("clean_environment")


def test_without_any_setting_everything_is_embedded_on_loopback():
    settings = load_settings()
    assert (settings.database_url, settings.temporal_address, settings.smtp_url) == (None, None, None)
    assert settings.api_host == "127.0.0.1"
    assert settings.dev_keys == ("write_key", "operator_key", "link_keys", "address_keys")


def test_a_variable_of_the_environment_is_read_and_an_argument_wins_over_it(monkeypatch):
    monkeypatch.setenv("TENURE_API_PORT", "9000")
    assert load_settings().api_port == 9000
    assert load_settings(api_port=0).api_port == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_development_keys_are_accepted_on_loopback(host):
    assert load_settings(api_host=host).api_host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "no-such-host.invalid"])
def test_development_keys_are_refused_everywhere_else_and_the_error_says_what_to_do(host):
    with pytest.raises(SettingsError) as refused:
        load_settings(api_host=host)
    for words in ("The operator's turn", "TENURE_WRITE_KEY", "TENURE_OPERATOR_KEY", "127.0.0.1"):
        assert words in str(refused.value)


def test_one_own_key_is_not_enough():
    with pytest.raises(SettingsError, match="set TENURE_OPERATOR_KEY to"):
        load_settings(**{**OWN, "operator_key": None}, api_host="0.0.0.0")


def test_the_public_development_key_may_not_hide_among_ones_own():
    with pytest.raises(SettingsError, match="set TENURE_LINK_KEYS to"):
        load_settings(**{**OWN, "link_keys": f"{LONG},{DEV_KEY}"}, api_host="0.0.0.0")


def test_own_keys_may_listen_anywhere():
    assert load_settings(**OWN, api_host="0.0.0.0").dev_keys == ()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_way_of_writing_a_database_address_names_the_driver(scheme):
    settings = load_settings(database_url=f"{scheme}://me:secret@db:5432/tenure")
    assert settings.database_url == "postgresql+asyncpg://me:secret@db:5432/tenure"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("database_url", "mysql://root:secret@db/tenure", "is no PostgreSQL URL"),
        ("smtp_url", "http://user:secret@mail", "is no SMTP URL"),
        ("smtp_url", "smtp://user:secret@mail:99999", "is no SMTP URL"),
        ("smtp_ambiguity", "twice", "'at_most_once' or 'at_least_once'"),
        ("public_url", "http://tenure.example", "is no https address"),
        ("link_keys", "secret", "needs 32 characters"),
        ("address_keys", f"{LONG},secret", "needs 32 characters"),
        ("api_port", "99999", "less than or equal to 65535"),
        ("log_format", "xml", "'console' or 'json'"),
    ],
)
def test_a_wrong_setting_is_named_by_its_variable_and_no_password_is_printed(name, value, words):
    with pytest.raises(SettingsError) as refused:
        load_settings(**{name: value})
    assert f"TENURE_{name.upper()}" in str(refused.value)
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["smtp", "smtp+starttls", "smtps"])
def test_every_way_to_a_relay_that_mail_can_take_is_a_setting(scheme, monkeypatch):
    monkeypatch.setenv("TENURE_SMTP_URL", f"{scheme}://me:secret@mail.example:2525")
    settings = load_settings()
    assert configured_channels(settings)["email"].promise is Promise.BLIND


def test_what_an_operator_promises_about_mail_is_what_the_channel_does(monkeypatch):
    monkeypatch.setenv("TENURE_SMTP_URL", "smtp://127.0.0.1")
    assert configured_channels(load_settings())["email"].ambiguity is Ambiguity.AT_MOST_ONCE
    monkeypatch.setenv("TENURE_SMTP_AMBIGUITY", "at_least_once")
    assert configured_channels(load_settings())["email"].ambiguity is Ambiguity.AT_LEAST_ONCE


def test_the_footer_and_the_one_click_link_of_a_mail_are_settings(monkeypatch):
    monkeypatch.setenv("TENURE_SMTP_URL", "smtp://127.0.0.1")
    monkeypatch.setenv("TENURE_ENVIRONMENT", "production")
    monkeypatch.setenv("TENURE_POSTAL_ADDRESS", "Tenure, 1 Harbour Street, Bergen")
    monkeypatch.setenv("TENURE_PUBLIC_URL", "https://tenure.example")
    outgoing = Outgoing(
        "key>u_1", "education/first-value", "ada@example.com", {"first_name": "Ada"}, {}, {}, "onboarding"
    )
    mail = message_from_bytes(configured_channels(load_settings())["email"].prepare(outgoing).body)
    assert mail["List-Unsubscribe"].startswith("<https://tenure.example/u/")
    assert "1 Harbour Street" in mail.as_string()


def test_a_relay_that_is_not_near_is_given_time_on_a_queue_of_its_own(monkeypatch):
    monkeypatch.setenv("TENURE_SMTP_URL", "smtp://127.0.0.1")
    near, far = (configured_channels(load_settings(smtp_near=is_near))["email"] for is_near in (True, False))
    assert (near.local, far.local) == (True, False)
    assert near.attempt < STEP_TIMEOUT < far.attempt < QUEUED_TIMEOUT


def test_all_faults_are_told_at_once():
    with pytest.raises(SettingsError) as refused:
        load_settings(database_url="x", smtp_url="y", api_port=-1)
    assert len(str(refused.value).splitlines()) == 3


def test_a_child_process_reads_the_settings_it_was_given(monkeypatch):
    parent = load_settings(**OWN, api_host="0.0.0.0", home=Path("somewhere"))
    for name, value in parent.environ(api_port=1234).items():
        monkeypatch.setenv(name, value)
    child = load_settings()
    assert child == parent.model_copy(update={"api_port": 1234})


def test_paths_are_absolute_because_children_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(home=Path("data")).home == tmp_path / "data"


def test_rules_of_consent_that_cannot_be_read_are_told_at_start_with_their_line(tmp_path):
    (tmp_path / "policy.yaml").write_text("")
    (tmp_path / "consent.yaml").write_text("confrim: []")
    with pytest.raises(SettingsError, match=r"consent\.yaml:1:1"):
        consent_rules(load_settings(catalog=tmp_path))


def test_a_confirmation_that_would_mostly_never_be_asked_for_is_told_at_start(tmp_path):
    (tmp_path / "policy.yaml").write_text("consent: [{default: granted}]")
    (tmp_path / "consent.yaml").write_text("confirm: [{channel: in_app, topic: offers}]")
    with capture_logs() as told:
        assert consent_rules(load_settings(catalog=tmp_path)).rules.needs_confirming("in_app", "offers")
    assert [line["event"] for line in told] == ["consent.nothing_waits"]


def test_a_catalogue_without_rules_of_consent_asks_for_nothing_special(tmp_path):
    (tmp_path / "policy.yaml").write_text("")
    assert not consent_rules(load_settings(catalog=tmp_path)).rules.needs_confirming("*", "*")
