"""Canaries: addresses, names, keys and texts are in no log and no metric, and whatever has them is for its owner only."""

from __future__ import annotations

import contextlib
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psutil
import pytest
import pytest_asyncio
from sqlalchemy import make_url

from tests.support.api import CATALOG
from tests.support.canaries import PERSONAL, SECRETS, readable_by_others
from tests.support.live_stack import until
from worker.settings import load_settings
from worker.stack.process import ChildCommand, ChildProcess
from worker.stack.supervisor import Stack

pytestmark = pytest.mark.usefixtures("clean_environment")


@pytest_asyncio.fixture
async def stack(home: Path, servers: Any) -> AsyncIterator[Stack]:
    settings = load_settings(
        home=home,
        api_port=0,
        worker_port=0,
        temporal_address=servers.temporal,
        task_queue=home.name,
        log_format="json",
        **SECRETS,
    )
    async with Stack(settings, provider=True, say=lambda _: None) as started:
        yield started


async def test_no_canary_is_in_a_log_or_metric_and_every_file_is_private(stack: Stack) -> None:
    url = stack.endpoints.api_url
    async with (
        httpx.AsyncClient(base_url=url, auth=(SECRETS["operator_key"], ""), timeout=60) as operator,
        httpx.AsyncClient(base_url=url, auth=(SECRETS["write_key"], ""), timeout=60) as sender,
    ):
        await _live(operator, sender, stack)
        await _fail(operator, sender, stack)
        metrics = (await operator.get("/metrics")).text
        metrics += (await operator.get(f"{stack.endpoints.worker_url}/metrics")).text
    logs = {path.name: path.read_text(errors="replace") for path in (stack.home / "logs").iterdir()}
    assert {"api.log", "worker.log", "postgres.log", "mail.log", "provider.log", "migrate.log"} <= set(logs)
    assert "gate_reads" in logs["worker.log"], "the errors that were provoked are logged"
    assert "api.unforeseen" in logs["api.log"]
    secrets = {**SECRETS, "database password": make_url(stack.endpoints.database_url).password or "?"}
    for name, canary in {**PERSONAL, **secrets}.items():
        for place, text in {**logs, "metrics": metrics}.items():
            assert canary.lower() not in text.lower(), f"{name} is in {place}"
    commands = list(_command_lines())
    assert not [command for command in commands for secret in secrets.values() if secret in command]
    assert list(readable_by_others(stack.home)) == []


def _command_lines() -> Iterator[str]:
    """Command lines of the processes that run below this one; PostgreSQL's come and go."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            yield " ".join(process.cmdline())


async def _live(operator: httpx.AsyncClient, sender: httpx.AsyncClient, stack: Stack) -> None:
    """A person lives through everything that writes texts somewhere."""
    for name in ("setup-and-activation", "urgent-support", "confirm-consent"):
        text = (CATALOG / "journeys" / f"{name}.yaml").read_bytes()
        (await operator.put(f"/v1/journeys/{name}", content=text)).raise_for_status()
    person = {"userId": PERSONAL["user"]}
    traits = {"email": PERSONAL["address"], "first_name": PERSONAL["name"], "phone": PERSONAL["phone"]}
    ticket = {"ticket_id": "1", "priority": "urgent", "subject": PERSONAL["ticket"], "topic": "support"}
    for path, body in (
        ("identify", {**person, "traits": {**traits, "consents": {"email": {"offers": True}}}}),
        ("track", {**person, "event": "Signed Up"}),
        ("track", {**person, "event": "ticket_opened", "properties": ticket}),
        ("track", {**person, "event": "no_such_event", "properties": {"text": PERSONAL["ticket"]}}),
        ("track", {**person, "event": "setup_step_completed", "properties": {"step": [PERSONAL["ticket"]]}}),
    ):
        (await sender.post(f"/v1/{path}", json=body)).raise_for_status()
    await operator.post("/v1/inbound-texts", json={"phone": PERSONAL["phone"], "text": "STOP", "id": "t-1"})
    mail = f"From: {PERSONAL['address']}\r\nIn-Reply-To: <x@y.example>\r\n\r\n{PERSONAL['reply']}"
    await operator.post("/v1/inbound-mails", content=mail.encode())
    await operator.post("/v1/inbound-mails", content=PERSONAL["reply"].encode())
    await operator.get("/v1/tasks", auth=(PERSONAL["wrong key"], ""))
    await operator.get(f"/v1/users/{PERSONAL['user']}/no-such-page?q={PERSONAL['address']}")
    await operator.post("/v1/track", content=PERSONAL["ticket"].encode())
    mails = stack.home / "mail" / "new"

    async def sent() -> str:
        return " ".join(path.read_text(errors="replace") for path in mails.iterdir()) if mails.is_dir() else ""

    await until(sent, lambda text: PERSONAL["address"] in text, timeout=60)


BREAK_GATE = """
    ALTER FUNCTION gate_reads RENAME TO gate_reads_away;
    CREATE FUNCTION gate_reads(person text, account text, since timestamptz, digests text[], at timestamptz, counted text[])
    RETURNS TABLE (consents json, sent json, queue json, urgent boolean, stopped json, suppressed json, held json, talks json,
                   accounts text[], refused json)
    LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'gate_reads cannot read %', person; END $$
"""
MEND_GATE = (
    "DROP FUNCTION gate_reads(text, text, timestamptz, text[], timestamptz, text[]);"
    "ALTER FUNCTION gate_reads_away RENAME TO gate_reads"
)


async def _fail(operator: httpx.AsyncClient, sender: httpx.AsyncClient, stack: Stack) -> None:
    """Errors that nobody foresees, with values in the frames and messages around them."""
    parsed = make_url(stack.endpoints.database_url)
    connection = await asyncpg.connect(
        user=parsed.username, password=parsed.password, host=parsed.query["host"], database=parsed.database
    )
    try:
        await connection.execute(BREAK_GATE)
        person = {"userId": PERSONAL["user"], "event": "setup_completed"}
        (await sender.post("/v1/track", json=person)).raise_for_status()
        ticket = {"ticket_id": "2", "priority": "urgent", "subject": PERSONAL["ticket"]}
        event = {"userId": PERSONAL["user"], "event": "ticket_opened", "properties": ticket}
        (await sender.post("/v1/track", json=event)).raise_for_status()
        why_not = {"template": "setup/first-steps"}
        answer = await operator.get(f"/v1/users/{PERSONAL['user']}/why-not", params=why_not)
        assert answer.status_code == 500
        log = stack.home / "logs" / "worker.log"

        async def logged() -> str:
            return log.read_text(errors="replace")

        await until(logged, lambda text: "gate_reads" in text, timeout=60)
        await connection.execute(MEND_GATE)
    finally:
        await connection.close()


async def test_a_child_writes_files_for_its_owner_only_and_an_old_log_becomes_private(tmp_path: Path) -> None:
    log, made = tmp_path / "logs" / "it.log", tmp_path / "made"
    log.parent.mkdir()
    log.write_text("old\n")
    log.chmod(0o644)
    script = f"from pathlib import Path; Path({str(made)!r}).write_text('x'); print('new')"
    child = ChildProcess("it", lambda: ChildCommand([sys.executable, "-c", script], log))
    child.start()
    assert await child.wait() == 0
    assert {stat.S_IMODE(path.stat().st_mode) for path in (log, made)} == {0o600}
    assert log.read_text() == "old\nnew\n"
