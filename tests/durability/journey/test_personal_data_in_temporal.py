"""Temporal's database has nothing personal: canaries of a journey that was played, searched in its files.

The control plays the same journey with clear payloads: the search finds every canary then.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.history.v1 import History
from temporalio.client import Client, WorkflowHandle, WorkflowHistory, WorkflowUpdateFailedError

from api.runs.temporal import CLOSED_BY_OPERATOR, TemporalRunCommands
from journeys.protocol import wire
from tests.support.live_stack import LiveStack, live_stack, until
from worker.composition.clients import connect_temporal
from worker.payload_encryption import ENCODING, PayloadNotDecrypted
from worker.payload_keys import read_payload_keys
from worker.probe import is_answered
from worker.settings import Settings
from worker.temporal import DECRYPTED, EncryptedCompression
from worker.testing.decryption import decrypted
from worker.testing.replay import replay

JOURNEY = """
journey: nursed
subject: user
case: ticket_id
entry: {on: [ticket_opened], again: always}
topic: support
variables: {ticket_id: string, subject: string}
start: open
states:
  open:
    do:
      - set: {ticket_id: event.ticket_id}
      - set: {subject: event.subject}
      - {send: support/we-are-on-it, via: [email, in_app], data: {ticket_id: journey.ticket_id}}
      - {task: nurse, owner: csm, data: {subject: journey.subject, name: profile.first_name}}
    on: {ping: {do: [{set: {subject: event.subject}}]}}
    after: {P90D: over}
  over: {final: done}
"""
TYPES = {
    "event.ticket_opened.ticket_id": "string",
    "event.ticket_opened.subject": "string",
    "event.ping.subject": "string",
    "profile.first_name": "string",
}


async def clear(settings: Settings) -> Client:
    """A client whose payloads are compressed only, as before encryption."""
    return await Client.connect(settings.temporal_address or "", data_converter=DECRYPTED)


def canaries() -> dict[str, str]:
    """Values of one person that no other test has."""
    mark = uuid.uuid4().hex[:12]
    return {name: f"canary-{name}-{mark}" for name in ("user", "name", "case", "subject", "by", "why", "plain")}


def found_in(folder: Path, values: Mapping[str, str]) -> set[str]:
    """The canaries that a server's database files have, also as hexadecimal or in another case."""
    files = [path for path in folder.iterdir() if ".db" in path.name]
    assert files, "the database is not where the test looks"
    content = b"".join(path.read_bytes() for path in files).lower()
    return {name for name, value in values.items() for form in _forms(value) if form in content}


def _forms(value: str) -> Iterator[bytes]:
    yield value.lower().encode()
    yield value.encode().hex().encode()


async def play(stack: LiveStack, values: Mapping[str, str]) -> WorkflowHandle[Any, Any]:
    """A ticket with a subject, a profile field, operator's commands, a refused one, and a query."""
    await stack.publish(JOURNEY, TYPES)
    await stack.accept(stack.identify(values["user"], first_name=values["name"], email=f"{values['name']}@example.com"))
    ticket: dict[str, Any] = {"ticket_id": values["case"], "subject": values["subject"]}
    await stack.accept(stack.track(values["user"], "ticket_opened", **ticket))
    handle = stack.client.get_workflow_handle(await stack.until("SELECT id FROM runs WHERE state = 'open'"))
    assert await handle.execute_update(wire.UPDATE_PAUSE, {"by": values["by"], "reason": values["why"]}) == "paused"
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(wire.UPDATE_PAUSE, {"by": values["by"], "at": values["why"]})
    await handle.execute_update(wire.UPDATE_RESUME, {"by": values["by"], "mode": "shift"})
    assert values["subject"] in json.dumps(await handle.query(wire.QUERY_STATE), default=str)
    await stack.until("SELECT count(*) FROM tasks WHERE data->>'subject' = :subject", subject=values["subject"])
    return handle


@pytest.mark.parametrize("connect", [connect_temporal, clear], ids=["encrypted", "clear"])
async def test_no_canary_of_a_played_journey_is_in_temporals_database(
    database_url: str,
    temporal_address: str,
    task_queue: str,
    tmp_path: Path,
    run_folder: Path,
    connect: Callable[[Settings], Awaitable[Client]],
) -> None:
    values = canaries()
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, connect=connect) as stack:
        handle = await play(stack, values)
        plain = await Client.connect(temporal_address)  # as Temporal's own command line
        await plain.get_workflow_handle(handle.id).signal("ping", {"subject": values["plain"]})
        await stack.until(
            "SELECT count(*) FROM runs WHERE memory->'variables'->>'subject' = :subject", subject=values["plain"]
        )
        commands = TemporalRunCommands(lambda: connect(stack.settings), partial(is_answered, task_queue=task_queue))
        await commands.abandon(handle.id)
        end = [event async for event in handle.fetch_history_events()][-1]
        assert end.workflow_execution_terminated_event_attributes.reason == CLOSED_BY_OPERATOR
    folder = run_folder / "temporal"
    given_in_clear = {"plain"}  # a signal of Temporal's command line is kept as it was sent, and read
    expected = given_in_clear if connect is connect_temporal else set(values) - {"user"}

    async def found() -> set[str]:
        return await asyncio.to_thread(found_in, folder, values)

    assert await until(found, lambda names: names >= expected, waiting_for="canaries on disk") == expected


async def test_strict_replay_of_an_encrypted_history_compares_decrypted_values(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with live_stack(database_url, temporal_address, task_queue, tmp_path, near=False) as stack:
        handle, codec = await play(stack, canaries()), stack.client.data_converter.payload_codec
        encrypted = await handle.fetch_history()
    assert codec is not None
    assert ENCODING in History(events=encrypted.events).SerializeToString()
    history = await decrypted(encrypted, codec)
    assert ENCODING not in History(events=history.events).SerializeToString()
    assert list((await decrypted(history, codec)).events) == list(history.events), "a clear history stays as it is"
    assert (await replay("same", history)).faults == []
    assert (await replay("changed", _with_another_subject(history), strict=False)).faults == []
    (fault,) = (await replay("changed", _with_another_subject(history))).faults
    assert "its arguments differ" in fault
    stranger = EncryptedCompression(read_payload_keys([f"stranger={'s' * 32}"]))
    with pytest.raises(PayloadNotDecrypted, match="which TENURE_PAYLOAD_KEYS lacks"):
        await decrypted(encrypted, stranger)


def _with_another_subject(history: WorkflowHistory) -> WorkflowHistory:
    """The history with another subject in the arguments of its first activity."""
    copy = History(events=history.events)
    scheduled = next(event for event in copy.events if event.HasField("activity_task_scheduled_event_attributes"))
    (argument,) = scheduled.activity_task_scheduled_event_attributes.input.payloads
    assert b"canary-subject" in argument.data
    argument.data = argument.data.replace(b"canary-subject", b"another-subject")
    return WorkflowHistory(history.workflow_id, list(copy.events))
