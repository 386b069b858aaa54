"""A published catalogue reaches every process within seconds, without a restart, and no message fails meanwhile."""

from __future__ import annotations

import asyncio
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from activities.steps.apply import apply_step
from cli.api_client import ApiClient
from journeys.events.inbound import InboundEvent
from journeys.protocol import wire
from store.database import Database, fetch_all, sql
from store.definitions.catalogue_versions import add_version
from store.errors import CatalogueBehind
from store.events import ingest
from store.locks import Lock, lock_until_commit
from tests.support.live_stack import until
from tests.support.steps import first_steps, publish
from worker.catalogue.folder import read_folder, write_folder
from worker.composition.current_catalogue import current_catalogue
from worker.composition.dependencies import dependencies
from worker.settings import DEV_OPERATOR_KEY, ROOT, Settings, load_settings
from worker.stack.supervisor import Stack

SECONDS = 5.0
"""Within which each process uses a new version, on a busy machine too."""
JOURNEY = """
journey: {key}
subject: user
entry: {{on: {on}, again: never}}
topic: onboarding
start: here
states:
  here:
    milestone: activated
    owner: lifecycle-team
    do: [{{send: {template}, via: [in_app]}}]
    on: {{activated: over}}
    after: {{P30D: over}}
  over: {{final: done}}
"""
TEMPLATE = """---
owner: lifecycle-team
topic: onboarding
stage: onboarding
review_date: 2099-12-31
status: live
channels: [in_app]
subject: "{subject}"
action: {{label: Look, url: "https://app.example.com/"}}
---
One line.
"""
FIRST = {
    "journeys/first.yaml": JOURNEY.format(key="first", on="signed_up", template="note/first").encode(),
    "templates/note/first.md": TEMPLATE.format(subject="Version one").encode(),
}
SECOND = {
    **FIRST,
    "templates/note/first.md": TEMPLATE.format(subject="Version two").encode(),
    "journeys/second.yaml": JOURNEY.format(key="second", on="setup_completed", template="note/second").encode(),
    "templates/note/second.md": TEMPLATE.format(subject="A new template").encode(),
}


def base() -> dict[str, bytes]:
    """The shipped catalogue without its journeys, and with a policy that allows everything."""
    files = {path: content for path, content in read_folder(ROOT / "catalog").items() if path[:9] != "journeys/"}
    files.pop("consent.yaml")
    return {**files, "policy.yaml": b"timezone: UTC\nconsent: [{default: granted}]\n"}


@pytest.mark.usefixtures("clean_environment")
async def test_every_process_uses_a_new_version_without_a_restart(home: Path, servers: Any, database_url: str) -> None:
    settings = load_settings(
        home=home,
        api_port=0,
        worker_port=0,
        database_url=database_url,
        temporal_address=servers.temporal,
        task_queue=home.name,
    )
    database = Database(database_url)
    async with Stack(settings, say=lambda _: None) as stack:
        with ApiClient(stack.endpoints.api_url, DEV_OPERATOR_KEY) as api:

            async def publish_all(files: dict[str, bytes]) -> None:
                await asyncio.to_thread(api.publish_catalogue, {**base(), **files}, "dana")

            async def subjects_after(person: str, event: str) -> list[str]:
                call = {"userId": person, "event": event, "messageId": f"{person}-{event}"}
                await asyncio.to_thread(api.post, "/v1/track", call)
                rows = await until(lambda: inbox(database, person), waiting_for=f"a message to {person}")
                return [row["subject"] for row in rows]

            await publish_all(FIRST)
            assert await subjects_after("ada", "signed_up") == ["Version one"]
            await publish_all(SECOND)
            # Nobody waits: a worker that does not know the template yet holds the step until it does.
            assert await subjects_after("ben", "setup_completed") == ["A new template"]
            people = (f"eve-{number}" for number in count())

            async def second_text() -> bool:
                return await subjects_after(next(people), "signed_up") == ["Version two"]

            await until(second_text, waiting_for="the new text", timeout=SECONDS)
            plan = base()["tracking-plan.yaml"].replace(
                b"\nsignals:\n", b"\nsignals:\n  tour_taken: {source: product}\n"
            )
            await publish_all({**SECOND, "tracking-plan.yaml": plan})
            await asyncio.sleep(SECONDS)
            await asyncio.to_thread(
                api.post, "/v1/track", {"userId": "ada", "event": "tour_taken", "messageId": "tour"}
            )
            assert len(await read(database, "SELECT name FROM events WHERE message_id = 'tour'")) == 1
            assert await read(database, "SELECT key FROM messages WHERE status <> 'sent'") == []
    await database.close()


async def test_a_message_waits_where_its_template_is_not_known_yet(database_url: str, tmp_path: Path) -> None:
    """Two workers a version apart: the older one sends nothing, and fails nothing."""
    old, new = write_folder(tmp_path / "old", {**base(), **FIRST}), write_folder(tmp_path / "new", {**base(), **SECOND})
    settings = Settings(database_url=database_url, smtp_url="smtp://127.0.0.1:9", catalog=old)
    database = Database(database_url)
    async with database.transaction() as connection:
        await lock_until_commit(connection, Lock.CATALOGUE)
        version, _ = await add_version(connection, read_folder(new), "dana")
    behind = dependencies(settings, database)
    newer = dependencies(settings.model_copy(update={"catalog": new}), database, version=version.number)
    await publish(database, (new / "journeys" / "second.yaml").read_text())
    event = InboundEvent("track", "m1", "setup_completed", user_id="ada")
    await ingest.accept(database, behind.catalogue, [event], source="test")
    (step,) = (await first_steps(database, newer.catalogue, "setup_completed")).values()
    with pytest.raises(CatalogueBehind):
        await apply_step(behind, wire.StepInput(**step))
    assert await read(database, "SELECT status FROM messages") == []
    await apply_step(newer, wire.StepInput(**step))
    (row,) = await read(database, "SELECT status, summary->>'catalogue' AS version FROM messages")
    assert (row["status"], row["version"]) == ("sent", str(version.number))
    await database.close()


async def published(database: Database, files: dict[str, bytes]) -> int:
    """Publish files without a check, as newer code might; the version's number."""
    async with database.transaction() as connection:
        await lock_until_commit(connection, Lock.CATALOGUE)
        version, _ = await add_version(connection, files, "dana")
    return version.number


async def test_a_version_that_cannot_be_read_here_is_passed_over(database_url: str) -> None:
    """The worker keeps its version and its channels, and takes the next one that it can read."""
    settings, stop = Settings(database_url=database_url, smtp_url="smtp://127.0.0.1:9"), asyncio.Event()
    database = Database(database_url)
    await published(database, {**base(), **FIRST})
    async with current_catalogue(settings, database, stop) as catalogue:
        assert catalogue is not None
        before = catalogue.current.deps
        assert (before.version, "note/second" in before.templates) == (1, False)
        await published(database, {**base(), **SECOND, "policy.yaml": b"timezone: Nowhere/Else\nodd: 1\n"})
        with capture_logs() as lines:
            waiting = asyncio.create_task(catalogue.next_version(stop))

            async def is_passed_over() -> bool:
                return any(line["event"] == "catalogue.unreadable" and line["version"] == 2 for line in lines)

            await until(is_passed_over, waiting_for="the version that cannot be read")
        assert catalogue.current.deps is before
        await published(database, {**base(), **SECOND})
        await waiting
        after = catalogue.current.deps
        assert (after.version, "note/second" in after.templates) == (3, True)
        assert after.channels is before.channels, "connections, limits and circuit breakers are kept"
    await database.close()


async def inbox(database: Database, person: str) -> list[Any]:
    statement = """
        SELECT n.content->>'title' AS subject FROM inbox n JOIN identities i ON i.subject_key = n.recipient
        WHERE i.value = :person
    """
    return await read(database, statement, person=person)


async def read(database: Database, statement: str, **values: Any) -> list[Any]:
    async with database.reading() as connection:
        return list(await fetch_all(connection, sql(statement), **values))
