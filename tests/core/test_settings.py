"""Settings say what is wrong, whose turn it is, and keep the development keys at home."""

from pathlib import Path

import pytest

from worker.settings import SettingsError, load_settings

pytestmark = pytest.mark.usefixtures("clean_environment")


def test_without_any_setting_everything_is_embedded_on_loopback():
    settings = load_settings()
    assert (settings.database_url, settings.temporal_address, settings.smtp_url) == (None, None, None)
    assert settings.api_host == "127.0.0.1"
    assert settings.dev_keys == ("write_key", "operator_key")


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
        load_settings(api_host="0.0.0.0", write_key="mine")


def test_own_keys_may_listen_anywhere():
    assert load_settings(api_host="0.0.0.0", write_key="mine", operator_key="mine-too").dev_keys == ()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_way_of_writing_a_database_address_names_the_driver(scheme):
    settings = load_settings(database_url=f"{scheme}://me:secret@db:5432/tenure")
    assert settings.database_url == "postgresql+asyncpg://me:secret@db:5432/tenure"


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("database_url", "mysql://root:secret@db/tenure", "is no PostgreSQL URL"),
        ("smtp_url", "http://user:secret@mail", "is no SMTP URL"),
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


def test_all_faults_are_told_at_once():
    with pytest.raises(SettingsError) as refused:
        load_settings(database_url="x", smtp_url="y", api_port=-1)
    assert len(str(refused.value).splitlines()) == 3


def test_a_child_process_reads_the_settings_it_was_given(monkeypatch):
    parent = load_settings(write_key="mine", operator_key="mine-too", api_host="0.0.0.0", home=Path("somewhere"))
    for name, value in parent.environ(api_port=1234).items():
        monkeypatch.setenv(name, value)
    child = load_settings()
    assert child == parent.model_copy(update={"api_port": 1234})


def test_paths_are_absolute_because_children_run_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_settings(home=Path("data")).home == tmp_path / "data"
