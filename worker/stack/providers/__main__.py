"""`python -m worker.stack.providers`: run the local provider as a process."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
from pathlib import Path

from worker.stack.providers.environment import TOKEN
from worker.stack.providers.serving import listening, provider


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m worker.stack.providers", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="port to listen on; 0 takes any free one and prints it")
    parser.add_argument("--folder", type=Path, help="folder that keeps accepted items across restarts")
    return parser.parse_args(argv)


async def run_provider(options: argparse.Namespace) -> None:
    bound = listening(provider(options.folder, token=os.environ.get(TOKEN)), host=options.host, port=options.port)
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, bound.server.handle_exit, number, None)
    print(f"provider on {bound.url}", flush=True)
    await bound.server.serve([bound.socket])


if __name__ == "__main__":
    asyncio.run(run_provider(_arguments(None)))
