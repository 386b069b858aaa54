"""Replay of recorded histories with today's code: the SDK's comparison, and a stricter one.

The SDK's Replayer compares kind and order of commands, not their contents. Strict replay records every command and compares
arguments and timeouts of activities, lengths of timers, and the input of continue-as-new. Arguments of local activities are in no
history; they count in the hash of all commands, which must be the same under every hash seed.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import Payload
from temporalio.api.enums.v1 import EventType
from temporalio.api.history.v1 import HistoryEvent
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.client import Client, WorkflowHistory
from temporalio.worker import Replayer, WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from worker.sandbox import sandbox
from worker.temporal import DECRYPTED
from worker.testing.decryption import fetch_decrypted
from workflows.journey import JourneyWorkflow
from workflows.outreach import OutreachWorkflow

SUFFIXES: Final = (".json", ".json.gz")


@dataclass(slots=True)
class ReplayVerdict:
    """Result of one history. `faults` is empty if today's code gives the same commands; `digest` hashes them."""

    name: str
    workflow: str
    events: int
    faults: list[str] = field(default_factory=list)
    digest: str = ""


# -- histories -----------------------------------------------------------------------------------------------------------


def read_history(path: Path) -> WorkflowHistory:
    """A history as it is in a `.json` or `.json.gz`, as `temporal workflow show --output json` and `cli record` write them."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.name.endswith(".gz") else raw
    return WorkflowHistory.from_json(path.name.partition(".")[0], json.loads(text))


def history_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Histories among files and folders, in the order of their names."""
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.name.endswith(SUFFIXES))
        else:
            yield path


def write_history(history: WorkflowHistory, path: Path) -> None:
    """Write a history; the same history gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json.loads(history.to_json()), separators=(",", ":"), sort_keys=True).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.name.endswith(".gz") else text)


async def histories_of(client: Client, query: str, most: int) -> AsyncIterator[WorkflowHistory]:
    """Decrypted histories of a cluster, at most `most`, by a visibility query. Raises PayloadNotDecrypted."""
    async for execution in client.list_workflows(query, limit=most):
        handle = client.get_workflow_handle(execution.id, run_id=execution.run_id)
        yield await fetch_decrypted(handle, client.data_converter.payload_codec)


# -- replay --------------------------------------------------------------------------------------------------------------


async def replay(name: str, history: WorkflowHistory, *, strict: bool = True) -> ReplayVerdict:
    """Replay one history, decrypted. Raises nothing: every difference is a fault of the result."""
    started = history.events[0].workflow_execution_started_event_attributes
    result = ReplayVerdict(name, started.workflow_type.name, len(history.events))
    recording = _Recording(sandbox())
    replayer = Replayer(
        workflows=[JourneyWorkflow, OutreachWorkflow], workflow_runner=recording, data_converter=DECRYPTED
    )
    outcome = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    if outcome.replay_failure is not None:
        result.faults.append(f"{type(outcome.replay_failure).__name__}: {outcome.replay_failure}"[:400])
    elif strict:
        result.faults += [fault async for fault in _differences(history.events, recording)]
    result.digest = recording.digest()
    return result


class _Recording(WorkflowRunner):
    """Runs workflows as the worker does, and records every command."""

    def __init__(self, inner: WorkflowRunner) -> None:
        self.inner = inner
        self.commands: list[WorkflowCommand] = []
        self.timers: dict[str, _Timer] = {}

    def prepare_workflow(self, defn: Any) -> None:
        self.inner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _Recorded(self.inner.create_instance(det), self)

    def set_worker_level_failure_exception_types(self, types: Any) -> None:
        self.inner.set_worker_level_failure_exception_types(types)

    def digest(self) -> str:
        """Hash of all commands with their contents."""
        text = b"\n".join(command.SerializeToString(deterministic=True) for command in self.commands)
        return hashlib.sha256(text).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Timer:
    """Length and start. A replay may start a timer one workflow task earlier; timers that fire within a second are equal."""

    length: Duration
    since: Timestamp

    def is_like(self, other: _Timer) -> bool:
        return _millis(self.length) == _millis(other.length) or abs(self._fires() - other._fires()) <= 1_000

    def _fires(self) -> int:
        return self.since.ToMilliseconds() + _millis(self.length)


class _Recorded(WorkflowInstance):
    def __init__(self, inner: WorkflowInstance, recording: _Recording) -> None:
        self.inner, self.recording = inner, recording

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        completion = self.inner.activate(act)
        for command in completion.successful.commands:
            copy = WorkflowCommand()
            copy.CopyFrom(command)
            self.recording.commands.append(copy)
            if copy.HasField("start_timer"):
                timer = copy.start_timer
                self.recording.timers[str(timer.seq)] = _Timer(timer.start_to_fire_timeout, act.timestamp)
        return completion

    def get_serialization_context(self, command_info: Any) -> Any:
        return self.inner.get_serialization_context(command_info)

    def get_external_store_context(self, command_info: Any) -> Any:
        return self.inner.get_external_store_context(command_info)

    def get_info(self) -> Any:
        return self.inner.get_info()

    def get_thread_id(self) -> int | None:
        return self.inner.get_thread_id()


# -- strictly --------------------------------------------------------------------------------------------------------------


async def _differences(events: Sequence[HistoryEvent], recording: _Recording) -> AsyncIterator[str]:
    """Contents of commands that differ from the history."""
    commands = recording.commands
    activities = {
        c.schedule_activity.activity_id: c.schedule_activity for c in commands if c.HasField("schedule_activity")
    }
    renewals = [
        c.continue_as_new_workflow_execution for c in commands if c.HasField("continue_as_new_workflow_execution")
    ]
    for event in events:
        match event.event_type:
            case EventType.EVENT_TYPE_TIMER_STARTED:
                timer = event.timer_started_event_attributes
                then = _Timer(timer.start_to_fire_timeout, _task_of(events, timer.workflow_task_completed_event_id))
                now = recording.timers.get(timer.timer_id)
                if now is None or not now.is_like(then):
                    yield f"event {event.event_id}: a timer of {_shown(then.length)}, now {_shown(now.length if now else None)}"
            case EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                scheduled = event.activity_task_scheduled_event_attributes
                async for difference in _of_activity(scheduled, activities.get(scheduled.activity_id)):
                    yield f"event {event.event_id}: {scheduled.activity_type.name}: {difference}"
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
                carried = event.workflow_execution_continued_as_new_event_attributes.input.payloads
                if not renewals or await _values(carried) != await _values(renewals[-1].arguments):
                    yield f"event {event.event_id}: the input of continue-as-new differs"
            case _:
                pass


def _task_of(events: Sequence[HistoryEvent], completed: int) -> Timestamp:
    """Start of the workflow task that this event completed. Events are numbered from 1."""
    return events[events[completed - 1].workflow_task_completed_event_attributes.started_event_id - 1].event_time


async def _of_activity(then: Any, now: Any) -> AsyncIterator[str]:
    if now is None:
        yield "is not scheduled now"
        return
    for name in (
        "schedule_to_close_timeout",
        "schedule_to_start_timeout",
        "start_to_close_timeout",
        "heartbeat_timeout",
    ):
        # The server sets timeouts that the command left out; only those in the command are compared.
        if now.HasField(name) and _millis(getattr(now, name)) != _millis(getattr(then, name)):
            yield f"{name} was {_shown(getattr(then, name))}, now {_shown(getattr(now, name))}"
    if now.task_queue != then.task_queue.name:
        yield f"queue was {then.task_queue.name}, now {now.task_queue}"
    if await _values(then.input.payloads) != await _values(now.arguments):
        yield "its arguments differ"


async def _values(payloads: Iterable[Payload]) -> list[Any]:
    codec = DECRYPTED.payload_codec
    whole = list(payloads)
    decoded = await codec.decode(whole) if codec is not None else whole
    return [json.loads(item.data) if item.metadata.get("encoding") == b"json/plain" else item.data for item in decoded]


def _millis(length: Duration) -> int:
    return length.ToMilliseconds()


def _shown(length: Duration | None) -> str:
    return "none" if length is None else f"{length.ToMilliseconds() / 1000:.3f} s"
