"""Download of the Temporal CLI by the SDK."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta

from temporalio.testing import WorkflowEnvironment


async def download(folder: str) -> None:
    environment = await WorkflowEnvironment.start_local(
        download_dest_dir=folder,
        dev_server_log_level="error",
        dev_server_startup_timeout=timedelta(seconds=60),
    )
    await environment.shutdown()


if __name__ == "__main__":
    asyncio.run(download(sys.argv[1]))
