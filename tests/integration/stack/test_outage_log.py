"""A killed PostgreSQL costs each process two lines: one for the outage and one for its end."""

import asyncio
from pathlib import Path

import httpx
import pytest

from tests.support.live_stack import until
from worker.settings import load_settings
from worker.stack.supervisor import Stack

SECONDS = 6.0
MOST_LINES = 12
"""Of worker and API together: two each for the database, and what Temporal's SDK says of workflow tasks that waited."""

pytestmark = pytest.mark.usefixtures("clean_environment")


def lines(home: Path, name: str) -> list[str]:
    return (home / "logs" / f"{name}.log").read_text().splitlines()


async def is_ready(url: str) -> bool:
    async with httpx.AsyncClient(base_url=url, timeout=10, trust_env=False) as api:
        try:
            return (await api.get("/readyz")).status_code == 200
        except httpx.TransportError:
            return False


@pytest.mark.slow  # a real worker and API, and an outage of six seconds
async def test_an_outage_of_postgresql_is_two_lines_of_each_process(home, servers):
    settings = load_settings(
        home=home, api_port=0, worker_port=0, temporal_address=servers.temporal, task_queue=home.name
    )
    async with Stack(settings, say=lambda _: None) as stack:
        url = stack.endpoints.api_url
        await until(lambda: is_ready(url), timeout=60)
        before = {name: len(lines(home, name)) for name in ("worker", "api")}
        await stack.kill("postgres", down_for=SECONDS)
        event = {"userId": "ada", "event": "Signed Up"}
        async with httpx.AsyncClient(base_url=url, auth=("dev-write-key", ""), timeout=20, trust_env=False) as api:
            while not stack.is_ready("postgres"):
                assert (await api.post("/v1/track", json=event)).status_code in {503, 200}  # it may end meanwhile
                await asyncio.sleep(0.1)
        await until(lambda: is_ready(url), timeout=60)
        logs = {name: lines(home, name)[count:] for name, count in before.items()}

        async def ended() -> bool:
            logs.update({name: lines(home, name)[count:] for name, count in before.items()})
            return all(any("database.reachable" in line for line in told) for told in logs.values())

        await until(ended, timeout=30)
    for told in logs.values():
        assert sum("database.unreachable" in line for line in told) == 1, told
        assert sum("database.reachable" in line for line in told) == 1, told
        assert not [line for line in told if "Traceback" in line], told
    assert sum(map(len, logs.values())) <= MOST_LINES, logs
