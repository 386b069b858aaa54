"""The PostgreSQL and the Temporal server of one test run: `python -m tests.support.servers FOLDER OWNER`.

A process of its own, so that both outlive the xdist worker that needed them first, and end with the run's owner even
when that is killed.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import psutil

from worker.event_loop import run_until_done
from worker.stack.postgres import PostgresServer
from worker.stack.temporal.server import TemporalServer

FILE = "servers.json"


async def serve(folder: Path, owner: int) -> None:
    stopped = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stopped.set)
    postgres = PostgresServer(folder / "postgres", durable=False)
    temporal = TemporalServer(folder / "temporal", time_skipping=True)
    async with postgres, temporal:
        addresses = {"postgres": postgres.url("postgres"), "temporal": temporal.address}
        draft = folder / "servers.draft"
        draft.write_text(json.dumps(addresses))
        draft.replace(folder / FILE)
        while not stopped.is_set() and psutil.pid_exists(owner):
            await asyncio.wait([asyncio.create_task(stopped.wait())], timeout=1.0)


if __name__ == "__main__":
    run_until_done(serve(Path(sys.argv[1]), int(sys.argv[2])))
