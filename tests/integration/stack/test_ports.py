"""Ports of a folder: the defaults, another one only if they are taken, and the same after a restart."""

import socket
from contextlib import contextmanager
from pathlib import Path

import pytest

from worker.settings import load_settings
from worker.stack.address_checks import StackError
from worker.stack.free_ports import LOOPBACK, free_ports
from worker.stack.ports import HomePorts, PortSettings

pytestmark = pytest.mark.usefixtures("clean_environment")


@contextmanager
def taken(port: int):
    with socket.create_server((LOOPBACK, port)):
        yield


@pytest.fixture
def said():
    return []


@pytest.fixture
def ports_of(tmp_path, said, monkeypatch):
    """Ports of one folder, as a new process chooses them: `default` is the default port of Temporal."""

    def made(default: int, **asked: int) -> HomePorts:
        monkeypatch.setattr(PortSettings.model_fields["temporal_port"], "default", default)
        PortSettings.model_rebuild(force=True)
        given = PortSettings.model_construct(_fields_set=set(asked), **asked)
        return HomePorts(tmp_path, load_settings(home=tmp_path), given, said.append)

    yield made
    monkeypatch.undo()
    PortSettings.model_rebuild(force=True)


def test_the_defaults_are_the_ports_that_people_know(monkeypatch):
    for name in PortSettings.model_fields:
        monkeypatch.delenv(f"TENURE_{name.upper()}")
    assert PortSettings().model_dump() == {
        "temporal_port": 7233, "temporal_ui_port": 8233, "mail_port": 1025, "mail_page_port": 8025,
        "provider_port": 8405,
    }  # fmt: skip


def test_a_free_default_is_taken_without_a_word(ports_of, said):
    (default,) = free_ports(1)
    assert ports_of(default).port("temporal_port") == default
    assert said == []


def test_a_taken_default_is_replaced_by_a_free_port_that_is_said_and_kept_until_the_default_is_free(ports_of, said):
    (default,) = free_ports(1)
    with taken(default):
        other = ports_of(default).port("temporal_port")
        assert ports_of(default).port("temporal_port") == other != default
    assert ports_of(default).port("temporal_port") == default
    sentence = f"port {default} is taken by another program: {other} instead (TENURE_TEMPORAL_PORT chooses another)"
    assert said == [sentence, sentence]


def test_zero_is_any_free_port_and_the_same_at_the_next_start(ports_of, said):
    (default,) = free_ports(1)
    first = ports_of(default, temporal_port=0).port("temporal_port")
    assert ports_of(default, temporal_port=0).port("temporal_port") == first != default
    assert said == []


def test_a_taken_port_of_the_settings_is_refused_by_its_variable(ports_of):
    default, asked = free_ports(2)
    with taken(asked), pytest.raises(StackError, match=f"TENURE_TEMPORAL_PORT={asked} is taken"):
        ports_of(default, temporal_port=asked).port("temporal_port")


def test_temporals_services_keep_their_ports_until_one_of_them_is_taken(ports_of):
    (default,) = free_ports(1)
    first = ports_of(default).temporal_services(8)
    assert ports_of(default).temporal_services(8) == first
    with taken(first[3]):
        assert not set(ports_of(default).temporal_services(8)) & {first[3]}


@pytest.mark.parametrize("text", ["", "[]", "{broken", '{"temporal_port": "x", "temporal_services": [1]}'])
def test_a_file_of_ports_that_cannot_be_used_is_written_again(ports_of, tmp_path: Path, text):
    (tmp_path / "ports.json").write_text(text)
    ports = ports_of(free_ports(1)[0], temporal_port=0)
    assert ports.port("temporal_port") > 0
    assert len(ports.temporal_services(8)) == 8
