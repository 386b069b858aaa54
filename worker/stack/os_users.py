"""OS user of the embedded PostgreSQL, made where this process is root."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from typing import Final

from worker.stack.address_checks import StackError

ADMINISTRATION: Final = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Folders of `useradd`. Cron, `su` and minimal images leave them out of PATH."""
SENTENCE: Final = (
    "PostgreSQL refuses to run as root, and its user pgserver cannot be made ({reason}). Run `make up` as another user, "
    "make the user (`useradd pgserver`), or give a database: TENURE_DATABASE_URL."
)


@contextlib.contextmanager
def making_users() -> Iterator[None]:
    """Let the body find `useradd`. Raises StackError if the body's call of it fails."""
    before = os.environ.get("PATH", os.defpath)
    missing = [folder for folder in ADMINISTRATION if folder not in before.split(os.pathsep)]
    os.environ["PATH"] = os.pathsep.join((before, *missing))
    try:
        yield
    except FileNotFoundError as error:
        if error.filename != "useradd":
            raise
        raise StackError(SENTENCE.format(reason="there is no command `useradd`")) from error
    except subprocess.CalledProcessError as error:
        if error.cmd[0] != "useradd":
            raise
        raise StackError(SENTENCE.format(reason=str(error.stderr).strip())) from error
    finally:
        os.environ["PATH"] = before
