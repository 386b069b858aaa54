"""Worker process of the hand-written workflows."""

from __future__ import annotations

import asyncio
import signal
import sys

from temporalio.client import Client
from temporalio.worker import Worker

from benchmarks.contenders.handwritten import QUEUE, BareDaily, BareJourney, BareMailer, BareTips
from benchmarks.contenders.signal_all import SignalAll
from worker.event_loop import run_until_done


async def run_bare_worker(address: str, smtp_port: int, cached: int) -> None:
    """Run until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    mailer = BareMailer("127.0.0.1", smtp_port)
    async with Worker(
        await Client.connect(address),
        task_queue=QUEUE,
        workflows=[BareJourney, BareTips, BareDaily, SignalAll],
        activities=[mailer.send_mail, mailer.put_in_inbox],
        max_cached_workflows=cached,
    ):
        print("ready", flush=True)
        await stop.wait()


if __name__ == "__main__":
    run_until_done(run_bare_worker(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
