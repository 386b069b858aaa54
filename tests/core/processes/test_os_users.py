"""As root, `useradd` is found outside PATH, and its failure is one sentence that says what to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from worker.stack.address_checks import StackError
from worker.stack.os_users import ADMINISTRATION, making_users

SMALL = "/usr/bin:/bin"


def test_the_folders_of_administration_are_searched_behind_the_callers_path(monkeypatch):
    monkeypatch.setenv("PATH", SMALL)
    with making_users():
        assert os.environ["PATH"] == ":".join((SMALL, *ADMINISTRATION))
    assert os.environ["PATH"] == SMALL


@pytest.mark.skipif(not Path("/usr/sbin/useradd").exists(), reason="this system has no useradd")
def test_useradd_is_found_without_sbin_in_path(monkeypatch):
    monkeypatch.setenv("PATH", SMALL)
    assert shutil.which("useradd") is None
    with making_users():
        assert shutil.which("useradd") == "/usr/sbin/useradd"


def test_without_useradd_one_sentence_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("worker.stack.os_users.ADMINISTRATION", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StackError) as refused, making_users():
        subprocess.run(["useradd", "pgserver"], check=True)
    assert "there is no command `useradd`" in str(refused.value)
    assert "TENURE_DATABASE_URL" in str(refused.value)


def test_a_useradd_that_fails_is_quoted(monkeypatch, tmp_path):
    command = tmp_path / "useradd"
    command.write_text("#!/bin/sh\necho 'cannot lock /etc/passwd' >&2\nexit 1\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{SMALL}")
    with pytest.raises(StackError, match="cannot lock /etc/passwd"), making_users():
        subprocess.run(["useradd", "pgserver"], check=True, capture_output=True, text=True)


def test_other_failures_pass_unchanged():
    with pytest.raises(FileNotFoundError, match="no-such-program"), making_users():
        subprocess.run(["no-such-program"], check=True)
