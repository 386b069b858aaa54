"""Recorded histories of every shipped journey replay with the current code, plainly and strictly."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.history.v1 import History
from temporalio.client import WorkflowHistory

from journeys.decision import timers
from worker.settings import ROOT
from worker.testing.replay import history_files, read_history, replay

HISTORIES = ROOT / "tests" / "histories"
FILES = list(history_files([HISTORIES]))


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
async def test_a_recorded_history_passes_plain_and_strict_replay(path: Path) -> None:
    replayed = await replay(path.name, read_history(path), strict=True)
    assert replayed.faults == []


def test_every_recorded_history_is_present_and_every_shipped_journey_has_one() -> None:
    lines = (HISTORIES / "expected_counts").read_text().splitlines()
    expected = {name: int(count) for name, count in (line.split() for line in lines)}
    assert Counter(path.parent.name for path in FILES) == expected
    shipped = {path.stem for path in (ROOT / "catalog" / "journeys").glob("*.yaml")}
    assert len(shipped) >= 5
    assert shipped <= set(expected)


async def test_two_hash_seeds_give_the_same_commands() -> None:
    first, second = await asyncio.gather(_digests(seed=1), _digests(seed=2))
    assert first == second
    assert len(first.splitlines()) == len(FILES)


async def _digests(seed: int) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "cli", "replay", str(HISTORIES), "--digests",
        cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": str(seed)}, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode()


def _changed(path: Path, change: str) -> WorkflowHistory:
    """The history as changed code would have recorded it."""
    original = read_history(path)
    history = History()
    for event in original.events:
        copied = history.events.add()
        copied.CopyFrom(event)
        timer = copied.timer_started_event_attributes.start_to_fire_timeout
        if change == "timer" and copied.HasField("timer_started_event_attributes"):
            timer.FromTimedelta(timer.ToTimedelta() + timedelta(hours=1))
        renewed = copied.workflow_execution_continued_as_new_event_attributes
        if change == "carried" and copied.HasField("workflow_execution_continued_as_new_event_attributes"):
            del renewed.input.payloads[:]
    return WorkflowHistory(original.workflow_id, list(history.events))


@pytest.mark.parametrize("change", ["timer", "carried"])
async def test_strict_replay_detects_changes_that_plain_replay_misses(change: str) -> None:
    longest = next(path for path in FILES if path.name.startswith("moved-twice-1"))
    history = _changed(longest, change)
    assert (await replay("plain", history, strict=False)).faults == []
    faults = (await replay("strict", history, strict=True)).faults
    assert faults
    assert ("a timer of" if change == "timer" else "continue-as-new differs") in faults[0]


async def test_strict_replay_detects_a_longer_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    path = next(path for path in FILES if path.name.startswith("moved-twice-1"))
    monkeypatch.setattr(timers, "MAX_JITTER", timedelta(hours=5))
    assert (await replay("plain", read_history(path), strict=False)).faults == []
    assert "a timer of" in (await replay("strict", read_history(path))).faults[0]
