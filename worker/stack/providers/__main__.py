"""`python -m worker.stack.providers`: the local provider as a process of its own, beside the mail sink."""

from __future__ import annotations

import argparse
import asyncio
import signal
from pathlib import Path

from worker.stack.providers.serving import listening, provider


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.stack.providers", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one and prints it")
    parser.add_argument("--folder", type=Path, help="keeps what was accepted over restarts")
    return parser.parse_args(argv)


async def run_provider(options: argparse.Namespace) -> None:
    made = listening(provider(options.folder), host=options.host, port=options.port)
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, made.server.handle_exit, each, None)
    print(f"provider on {made.url}", flush=True)
    await made.server.serve([made.socket])


if __name__ == "__main__":
    asyncio.run(run_provider(_arguments(None)))
