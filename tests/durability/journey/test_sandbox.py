"""The sandbox stays enabled and cheap: imports of workflow modules, and time and memory per run."""

from __future__ import annotations

import ast
import gc
import sys
import time
from pathlib import Path

import psutil
from temporalio.workflow import _Definition

from tests.support.worker_parts import running_relay, stack_without_workers, worker
from worker.sandbox import sandbox
from worker.settings import ROOT
from worker.testing.replay import history_files, read_history, replay
from workflows.journey import JourneyWorkflow
from workflows.outreach import OutreachWorkflow

MAY_IMPORT = {*sys.stdlib_module_names, "journeys", "workflows", "temporalio"}
JOURNEY = """
journey: small
entry: {on: signed_up, again: never}
topic: onboarding
start: waiting
states:
  waiting: {after: {P30D: over}}
  over: {final: done}
"""


def test_workflow_modules_import_the_standard_library_and_journeys_only() -> None:
    modules = sorted((ROOT / "workflows").rglob("*.py"))
    assert {"journey.py", "outreach.py"} <= {module.name for module in modules}
    for module in modules:
        for node in ast.walk(ast.parse(module.read_text("utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            assert {name.partition(".")[0] for name in names} <= MAY_IMPORT, module


async def test_a_worker_validates_its_workflows_in_half_a_second() -> None:
    prepared = sandbox()
    began = time.process_time()
    for workflow in (JourneyWorkflow, OutreachWorkflow):
        prepared.prepare_workflow(_Definition.must_from_class(workflow))
    assert time.process_time() - began < 0.5


async def test_replaying_a_run_takes_less_than_150_ms_of_cpu() -> None:
    path = next(iter(history_files([ROOT / "tests" / "histories" / "setup-and-activation"])))
    history = read_history(path)
    await replay("warm", history)
    began, times = time.process_time(), 10
    for _ in range(times):
        await replay("again", history)
    assert (time.process_time() - began) / times < 0.15


async def test_a_cached_run_holds_less_than_400_kb_of_memory(
    database_url: str, temporal_address: str, task_queue: str, tmp_path: Path
) -> None:
    async with (
        stack_without_workers(database_url, temporal_address, task_queue, tmp_path) as stack,
        running_relay(stack),
    ):
        await stack.publish(JOURNEY)
        async with worker(stack, max_cached_workflows=500):
            held: list[int] = []
            for group in ("warm", "counted"):
                await stack.accept(*(stack.track(f"{group}{n}", "signed_up") for n in range(100)))
                wanted = 100 * (len(held) + 1)
                await stack.until("SELECT count(*) FROM runs WHERE state = 'waiting'", wanted.__eq__)
                gc.collect()
                held.append(psutil.Process().memory_info().rss)
            assert (held[1] - held[0]) / 100 < 400_000
