"""Data folder of the embedded PostgreSQL: created with a password, private.

As root the server runs as another OS user, so a socket cannot tell who connects: every connection needs the password.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SUPERUSER: Final = "postgres"
_MAX_SOCKET_FOLDER: Final = 80
"""Bytes; the path of a unix socket has about 104, and PostgreSQL adds a name."""
_HBA: Final = "local all all scram-sha-256\nhost all all 127.0.0.1/32 scram-sha-256\n"
ITERATIONS: Final = 1
"""Of SCRAM. The password is 256 random bits: more would only slow down every connection."""
STANDARD_ITERATIONS: Final = 4_096
"""The least that other drivers accept (RFC 7677 §4)."""


@dataclass(frozen=True, slots=True)
class PostgresData:
    """A data folder, the folder of PostgreSQL's programs, and the server's OS user (name, uid, gid) if it is another."""

    path: Path
    programs: Path
    user: tuple[str, int, int] | None
    iterations: int = ITERATIONS

    @property
    def password_file(self) -> Path:
        """Beside the folder, for this user only."""
        return self.path.with_name(f"{self.path.name}.password")

    def prepare(self) -> str:
        """Create the folder if it is new, and require a password; the password."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if self.user is not None:
            _let_pass(self.path)
            _let_read(self.programs)
            os.chown(self.path, *self.user[1:])
        if not self.password_file.exists():
            self._set_password()
        rules = self.path / "pg_hba.conf"
        if rules.read_text() != _HBA:  # the file's owner and mode are the server's, and stay
            rules.write_text(_HBA)
        return self.password_file.read_text()

    def socket_folder(self) -> Path:
        """The data folder itself, or a private one elsewhere if its path is too long for a socket."""
        if len(os.fsencode(self.path)) <= _MAX_SOCKET_FOLDER:
            return self.path
        runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nowhere")
        base = runtime if self.user is None and runtime.is_dir() else Path(tempfile.gettempdir())
        folder = base / f"tenure-{hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]}"
        if not self._make_private(folder):  # somebody else has made it: it is theirs
            folder = Path(tempfile.mkdtemp(prefix="tenure-", dir=base))
            self._give(folder)
        return folder

    def _make_private(self, folder: Path) -> bool:
        """Whether the folder is, or was made, one that only the server's user can enter."""
        owner = os.getuid() if self.user is None else self.user[1]
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            found = folder.lstat()
            return stat.S_ISDIR(found.st_mode) and found.st_uid == owner and not found.st_mode & 0o077
        self._give(folder)
        return True

    def _set_password(self) -> None:
        """The file takes its name last: after an interrupted start another password is set."""
        iterations = f"scram_iterations={self.iterations}"
        password, draft = secrets.token_urlsafe(32), self.password_file.with_suffix(".draft")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(password)
        if (self.path / "PG_VERSION").exists():
            statement = f"SET {iterations}; ALTER USER {SUPERUSER} PASSWORD '{password}'\n"
            self._run("postgres", "--single", "-D", str(self.path), "postgres", given=statement)
        else:
            self._give(draft)
            self._run(
                "initdb", "--auth=scram-sha-256", f"--pwfile={draft}", "--encoding=utf8", "-U", SUPERUSER,
                "-c", iterations, "-D", str(self.path),
            )  # fmt: skip
            os.chown(draft, os.getuid(), os.getgid())
        draft.replace(self.password_file)

    def _give(self, path: Path) -> None:
        if self.user is not None:
            os.chown(path, *self.user[1:])

    def _run(self, program: str, *arguments: str, given: str = "") -> None:
        """Run one of PostgreSQL's programs as the server's user. Raises RuntimeError with the end of its output."""
        user, group = (None, None) if self.user is None else self.user[1:]
        ended = subprocess.run(
            [str(self.programs / program), *arguments],
            input=given,
            capture_output=True,
            text=True,
            cwd=self.path,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
            user=user,
            group=group,
            check=False,
        )
        if ended.returncode != 0:
            raise RuntimeError(f"{program} failed in {self.path}: {(ended.stderr or ended.stdout)[-2_000:]}")


def _let_pass(path: Path) -> None:
    """Let another user pass the folders above a path. They cannot list them."""
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(stat.S_IMODE(mode) | stat.S_IXGRP | stat.S_IXOTH)


def _let_read(programs: Path) -> None:
    """Let another user run PostgreSQL's programs: an installation by root may be for root only."""
    _let_pass(programs)
    for folder in (programs, programs.parent / "lib"):
        for entry in (folder, *folder.rglob("*")):
            mode, needed = stat.S_IMODE(entry.stat().st_mode), 0o555 if entry.is_dir() or folder == programs else 0o444
            if mode & needed != needed:
                entry.chmod(mode | needed)
