"""Settings: sources, defaults, errors for the operator, and development keys on loopback only."""

from email import message_from_bytes
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from activities.ports import Ambiguity, Outgoing, Promise
from journeys.consent.rules import DEV_KEY
from tests.support.own_keys import OWN_ENVIRONMENT, OWN_KEYS
from worker.composition.catalog import consent_rules
from worker.composition.channels import configured_channels
from worker.settings import SettingsError, load_settings
from workflows.limits import QUEUED_TIMEOUT, STEP_TIMEOUT

LONG = "k" * 32
OWN = OWN_KEYS
EXPOSED = [
    {"api_host": "0.0.0.0"},
    {"environment": "production"},
    {"public_url": "https://tenure.example"},
    {"link_base": "https://l.example"},
    {"environment": "production", "public_url": "https://localhost"},
]
pytestmark = pytest.mark.usefixtures("clean_environment")


def test_without_settings_all_servers_are_embedded_and_listen_on_loopback():
    settings = load_settings()
    assert (settings.database_url, settings.temporal_address, settings.smtp_url) == (None, None, None)
    assert settings.api_host == "127.0.0.1"
    assert settings.dev_keys == ("write_key", "operator_key", "link_keys", "address_keys", "payload_keys")


def test_an_environment_variable_is_read_and_an_argument_overrides_it(monkeypatch):
    monkeypatch.setenv("TENURE_API_PORT", "9000")
    assert load_settings().api_port == 9000
    assert load_settings(api_port=0).api_port == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_development_keys_are_accepted_on_loopback(host):
    assert load_settings(api_host=host).api_host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "no-such-host.invalid"])
def test_development_keys_are_refused_on_other_hosts_with_the_variables_to_set(host):
    with pytest.raises(SettingsError) as refused:
        load_settings(api_host=host)
    for words in ("The operator's turn", "TENURE_WRITE_KEY", "TENURE_OPERATOR_KEY", "127.0.0.1"):
        assert words in str(refused.value)


def test_a_single_development_key_is_refused_on_other_hosts():
    with pytest.raises(SettingsError, match="set TENURE_OPERATOR_KEY to"):
        load_settings(**{**OWN, "operator_key": None}, api_host="0.0.0.0")


def test_the_development_key_among_other_link_keys_is_refused():
    with pytest.raises(SettingsError, match="set TENURE_LINK_KEYS to"):
        load_settings(**{**OWN, "link_keys": f"{LONG},{DEV_KEY}"}, api_host="0.0.0.0")


@pytest.mark.parametrize("exposed", EXPOSED, ids="+".join)
@pytest.mark.parametrize("key", ["write_key", "operator_key", "link_keys", "address_keys", "payload_keys"])
def test_a_development_key_is_refused_in_production_and_behind_a_public_address(exposed, key):
    with pytest.raises(SettingsError, match=f"set TENURE_{key.upper()} to"):
        load_settings(**{**OWN, key: None}, **exposed)


@pytest.mark.parametrize("exposed", EXPOSED, ids="+".join)
def test_a_short_key_is_refused_where_others_reach_the_api(exposed):
    for key, value in (("write_key", "w"), ("operator_key", "o" * 23)):
        with pytest.raises(SettingsError, match=f"set TENURE_{key.upper()} to"):
            load_settings(**{**OWN, key: value}, **exposed)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8400", "https://localhost", "https://tenure.localhost", "http://[::1]:1"]
)
def test_development_keys_are_accepted_with_a_public_address_on_loopback(url):
    assert load_settings(public_url=url, write_key="short").weak_keys


@pytest.mark.parametrize("exposed", EXPOSED, ids="+".join)
def test_a_server_with_its_own_keys_may_be_reached_by_anybody(exposed):
    assert load_settings(**OWN, **exposed).weak_keys == ()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_scheme_of_a_database_url_becomes_the_one_with_the_driver(scheme):
    settings = load_settings(database_url=f"{scheme}://me:secret@db:5432/tenure")
    assert settings.database_url == "postgresql+asyncpg://me:secret@db:5432/tenure"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("database_url", "mysql://root:secret@db/tenure", "is not a PostgreSQL URL"),
        ("smtp_url", "http://user:secret@mail", "is not an SMTP URL"),
        ("smtp_url", "smtp://user:secret@mail:99999", "is not an SMTP URL"),
        ("smtp_ambiguity", "twice", "'at_most_once' or 'at_least_once'"),
        ("public_url", "http://tenure.example", "is not an https address"),
        ("link_keys", "secret", "needs 32 characters"),
        ("address_keys", f"{LONG},secret", "needs 32 characters"),
        ("api_port", "99999", "less than or equal to 65535"),
        ("log_format", "xml", "'console' or 'json'"),
    ],
)
def test_an_invalid_setting_is_named_by_its_variable_without_its_secrets(name, value, words):
    with pytest.raises(SettingsError) as refused:
        load_settings(**{name: value})
    assert f"TENURE_{name.upper()}" in str(refused.value)
    assert words in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("scheme", ["smtp", "smtp+starttls", "smtps"])
def test_a_mail_relay_may_have_any_smtp_scheme(scheme, monkeypatch):
    monkeypatch.setenv("TENURE_SMTP_URL", f"{scheme}://me:secret@mail.example:2525")
    settings = load_settings()
    assert configured_channels(settings)["email"].promise is Promise.BLIND


def test_the_ambiguity_of_mails_comes_from_its_setting(monkeypatch):
    monkeypatch.setenv("TENURE_SMTP_URL", "smtp://127.0.0.1")
    assert configured_channels(load_settings())["email"].ambiguity is Ambiguity.AT_MOST_ONCE
    monkeypatch.setenv("TENURE_SMTP_AMBIGUITY", "at_least_once")
    assert configured_channels(load_settings())["email"].ambiguity is Ambiguity.AT_LEAST_ONCE


def test_the_footer_and_the_one_click_link_of_a_mail_come_from_settings(monkeypatch):
    monkeypatch.setenv("TENURE_SMTP_URL", "smtp://127.0.0.1")
    monkeypatch.setenv("TENURE_ENVIRONMENT", "production")
    for name, key in OWN_ENVIRONMENT.items():
        monkeypatch.setenv(name, key)
    monkeypatch.setenv("TENURE_POSTAL_ADDRESS", "Tenure, 1 Harbour Street, Bergen")
    monkeypatch.setenv("TENURE_PUBLIC_URL", "https://tenure.example")
    outgoing = Outgoing(
        "key>u_1", "education/first-value", "ada@example.com", {"first_name": "Ada"}, {}, {}, "onboarding"
    )
    mail = message_from_bytes(configured_channels(load_settings())["email"].prepare(outgoing).body)
    assert mail["List-Unsubscribe"].startswith("<https://tenure.example/u/")
    assert "1 Harbour Street" in mail.as_string()


def test_a_distant_relay_has_longer_attempts_outside_the_step(monkeypatch):
    monkeypatch.setenv("TENURE_SMTP_URL", "smtp://127.0.0.1")
    near, far = (configured_channels(load_settings(smtp_near=is_near))["email"] for is_near in (True, False))
    assert (near.local, far.local) == (True, False)
    assert near.attempt < STEP_TIMEOUT < far.attempt < QUEUED_TIMEOUT


def test_all_faults_are_reported_at_once():
    with pytest.raises(SettingsError) as refused:
        load_settings(database_url="x", smtp_url="y", api_port=-1)
    assert len(str(refused.value).splitlines()) == 3


def test_a_child_process_reads_its_parents_settings_from_the_environment(monkeypatch):
    parent = load_settings(**OWN, api_host="0.0.0.0", home=Path("somewhere"))
    for name, value in parent.environ(api_port=1234).items():
        monkeypatch.setenv(name, value)
    child = load_settings()
    assert child == parent.model_copy(update={"api_port": 1234})


def test_paths_are_made_absolute_for_child_processes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(home=Path("data")).home == tmp_path / "data"


def test_invalid_consent_rules_are_reported_on_start_with_their_line(tmp_path):
    (tmp_path / "policy.yaml").write_text("")
    (tmp_path / "consent.yaml").write_text("confrim: []")
    with pytest.raises(SettingsError, match=r"consent\.yaml:1:1"):
        consent_rules(load_settings(catalog=tmp_path))


def test_a_confirmation_without_effect_is_logged_on_start(tmp_path):
    (tmp_path / "policy.yaml").write_text("consent: [{default: granted}]")
    (tmp_path / "consent.yaml").write_text("confirm: [{channel: in_app, topic: offers}]")
    with capture_logs() as logged:
        assert consent_rules(load_settings(catalog=tmp_path)).rules.needs_confirming("in_app", "offers")
    assert [line["event"] for line in logged] == ["consent.nothing_waits"]


def test_a_catalogue_without_consent_rules_needs_no_confirmation(tmp_path):
    (tmp_path / "policy.yaml").write_text("")
    assert not consent_rules(load_settings(catalog=tmp_path)).rules.needs_confirming("*", "*")
