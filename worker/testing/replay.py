"""Replay: recorded histories through today's code, plainly as the SDK does it, and strictly.

The SDK's Replayer compares which commands come in which order. It does not see what is in them: an activity's arguments
and timeouts, how long a timer is, what crosses continue-as-new. Strict replay keeps every command that the code gives
and compares those with the history. A local activity's arguments are in no history; they count in the digest of all
commands, which must be the same under every hash seed.
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
from worker.temporal import CONVERTER
from workflows.journey import JourneyWorkflow
from workflows.outreach import OutreachWorkflow

SUFFIXES: Final = (".json", ".json.gz")


@dataclass(slots=True)
class ReplayVerdict:
    """One history's verdict: `faults` is empty when today's code does just what was done then."""

    name: str
    workflow: str
    events: int
    faults: list[str] = field(default_factory=list)
    digest: str = ""


# -- histories -----------------------------------------------------------------------------------------------------------


def read_history(path: Path) -> WorkflowHistory:
    """A history from `.json` or `.json.gz`, as `temporal workflow show --output json` and `cli record` write it."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.name.endswith(".gz") else raw
    return WorkflowHistory.from_json(path.name.partition(".")[0], json.loads(text))


def history_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Every history among files and folders, in order of their names."""
    for path in paths:
        if path.is_dir():
            yield from sorted(each for each in path.rglob("*") if each.name.endswith(SUFFIXES))
        else:
            yield path


def write_history(history: WorkflowHistory, path: Path) -> None:
    """Keep a history; the same history is the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(json.loads(history.to_json()), separators=(",", ":"), sort_keys=True).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.name.endswith(".gz") else text)


async def histories_of(client: Client, query: str, most: int) -> AsyncIterator[WorkflowHistory]:
    """Histories from a running cluster, by a visibility query."""
    async for each in client.list_workflows(query, limit=most):
        yield await client.get_workflow_handle(each.id, run_id=each.run_id).fetch_history()


# -- replay --------------------------------------------------------------------------------------------------------------


async def replay(name: str, history: WorkflowHistory, *, strict: bool = True) -> ReplayVerdict:
    """Replay one history. Never raises for what the history or the code does."""
    started = history.events[0].workflow_execution_started_event_attributes
    result = ReplayVerdict(name, started.workflow_type.name, len(history.events))
    recording = _Recording(sandbox())
    replayer = Replayer(
        workflows=[JourneyWorkflow, OutreachWorkflow], workflow_runner=recording, data_converter=CONVERTER
    )
    outcome = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    if outcome.replay_failure is not None:
        result.faults.append(f"{type(outcome.replay_failure).__name__}: {outcome.replay_failure}"[:400])
    elif strict:
        result.faults += [fault async for fault in _differences(history.events, recording)]
    result.digest = recording.digest()
    return result


class _Recording(WorkflowRunner):
    """Runs workflows as the worker does, and keeps every command they give."""

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
        """Of all commands with all they hold."""
        text = b"\n".join(command.SerializeToString(deterministic=True) for command in self.commands)
        return hashlib.sha256(text).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class _Timer:
    """How long, and from when. A replay may arm it one workflow task earlier: what rings within a second is the same."""

    length: Duration
    since: Timestamp

    def is_like(self, other: _Timer) -> bool:
        return _millis(self.length) == _millis(other.length) or abs(self._rings() - other._rings()) <= 1_000

    def _rings(self) -> int:
        return self.since.ToMilliseconds() + _millis(self.length)


class _Recorded(WorkflowInstance):
    def __init__(self, inner: WorkflowInstance, kept: _Recording) -> None:
        self.inner, self.kept = inner, kept

    def activate(self, act: WorkflowActivation) -> WorkflowActivationCompletion:
        completion = self.inner.activate(act)
        for command in completion.successful.commands:
            kept = WorkflowCommand()
            kept.CopyFrom(command)
            self.kept.commands.append(kept)
            if kept.HasField("start_timer"):
                timer = kept.start_timer
                self.kept.timers[str(timer.seq)] = _Timer(timer.start_to_fire_timeout, act.timestamp)
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
    """Where what is in a command is not what was in it then."""
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
                async for what in _of_activity(scheduled, activities.get(scheduled.activity_id)):
                    yield f"event {event.event_id}: {scheduled.activity_type.name}: {what}"
            case EventType.EVENT_TYPE_WORKFLOW_EXECUTION_CONTINUED_AS_NEW:
                carried = event.workflow_execution_continued_as_new_event_attributes.input.payloads
                if not renewals or await _values(carried) != await _values(renewals[-1].arguments):
                    yield f"event {event.event_id}: what crosses continue-as-new differs"
            case _:
                pass


def _task_of(events: Sequence[HistoryEvent], completed: int) -> Timestamp:
    """When the workflow task began that this event completed. Events are numbered from 1."""
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
        # The server fills in what was not asked for; only what is asked for can differ.
        if now.HasField(name) and _millis(getattr(now, name)) != _millis(getattr(then, name)):
            yield f"{name} was {_shown(getattr(then, name))}, now {_shown(getattr(now, name))}"
    if now.task_queue != then.task_queue.name:
        yield f"queue was {then.task_queue.name}, now {now.task_queue}"
    if await _values(then.input.payloads) != await _values(now.arguments):
        yield "its arguments differ"


async def _values(payloads: Iterable[Payload]) -> list[Any]:
    codec = CONVERTER.payload_codec
    whole = list(payloads)
    decoded = await codec.decode(whole) if codec is not None else whole
    return [json.loads(each.data) if each.metadata.get("encoding") == b"json/plain" else each.data for each in decoded]


def _millis(length: Duration) -> int:
    return length.ToMilliseconds()


def _shown(length: Duration | None) -> str:
    return "none" if length is None else f"{length.ToMilliseconds() / 1000:.3f} s"
