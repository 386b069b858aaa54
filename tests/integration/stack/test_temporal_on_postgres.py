"""The embedded stack with Temporal on a PostgreSQL of its own: it plays a journey and keeps it over a restart."""

from __future__ import annotations

import shutil
from pathlib import Path

import asyncpg
import httpx
import pytest
from temporalio.client import Client

from store.database import plain_url
from tests.integration.stack.test_embedded_stack import STAND_INS, quiet
from tests.support.live_stack import until
from worker.settings import ROOT, Settings, load_settings
from worker.stack.address_checks import StackError
from worker.stack.supervisor import Stack
from worker.stack.temporal.schema import MAIN, TOOL, VISIBILITY
from worker.stack.temporal.store import temporal_postgres

JOURNEY = (ROOT / "catalog" / "journeys" / "setup-and-activation.yaml").read_bytes()

pytestmark = [
    pytest.mark.usefixtures("clean_environment"),
    pytest.mark.skipif(
        not TOOL.path.exists() and shutil.which("go") is None, reason="Temporal's schema tool is built with Go"
    ),
]


def settings_of(home: Path) -> Settings:
    return load_settings(home=home, api_port=0, worker_port=0, temporal_store="postgres", allowed_recipients="*")


async def sign_up(stack: Stack) -> str:
    """Play the first step of a journey; the run's id."""
    operator = (stack.settings.operator_key.get_secret_value(), "")
    sender = (stack.settings.write_key.get_secret_value(), "")
    async with httpx.AsyncClient(base_url=stack.endpoints.api_url, timeout=60) as client:
        (await client.put("/v1/journeys/setup-and-activation", content=JOURNEY, auth=operator)).raise_for_status()
        for path, body in (("identify", {"traits": {"email": "ada@example.com"}}), ("track", {"event": "Signed Up"})):
            (await client.post(f"/v1/{path}", json={"userId": "ada", **body}, auth=sender)).raise_for_status()
    connection = await asyncpg.connect(plain_url(stack.endpoints.database_url))

    async def run() -> str:
        return str(await connection.fetchval("SELECT coalesce(max(id), '') FROM runs WHERE step > 0"))

    try:
        return await until(run, timeout=60)
    finally:
        await connection.close()


@pytest.mark.slow  # two starts of the stack, one of them with worker and API
async def test_a_journey_is_played_and_kept_over_a_restart(home: Path) -> None:
    async with Stack(settings_of(home), say=quiet) as stack:
        assert {"temporal", "temporal-postgres", "postgres"} <= set(stack.endpoints.pids)
        run = await sign_up(stack)
    assert not (home / "temporal" / "temporal.db").exists()
    async with Stack(settings_of(home), modules=STAND_INS, say=quiet) as stack:
        description = await (await Client.connect(stack.endpoints.temporal_address)).get_workflow_handle(run).describe()
        assert description.history_length > 3
        killed = await stack.kill("temporal-postgres")
        await stack.wait_ready(timeout=60)
        assert stack.pid("temporal-postgres") not in {killed, None}
    with pytest.raises(StackError, match="give --temporal-store postgres, or another folder"):
        await Stack(load_settings(home=home, api_port=0, worker_port=0), modules=STAND_INS, say=quiet).start()
    assert await schema_updates(home) == {MAIN: 1, VISIBILITY: 1}


async def schema_updates(home: Path) -> dict[str, int]:
    """By database, how often each version of the schema was installed at most."""
    async with temporal_postgres(home / "temporal-postgres") as server:
        counts = {}
        for database in (MAIN, VISIBILITY):
            connection = await asyncpg.connect(plain_url(server.url(database)))
            counts[database] = await connection.fetchval(
                "SELECT max(n) FROM (SELECT count(*) AS n FROM schema_update_history GROUP BY new_version) AS versions"
            )
            await connection.close()
    return counts
