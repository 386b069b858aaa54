"""A worker and an API that die once at each named point, when an event's token names it: `… crash_points worker`.

The product has no code for this: each point is a function that is wrapped here. These are the points between API,
relay, Temporal and step; `crash_cells.py` has those around an attempt, for every adapter.
"""

from __future__ import annotations

import ctypes
import functools
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from temporalio.client import Client

from activities.channels.email.smtp import EmailChannel
from activities.delivery import attempts
from activities.dependencies import Dependencies
from activities.steps import apply as steps
from api.events import intake
from store.events import ingest
from store.messages.entries import LedgerEntry
from store.outbox import claims
from tests.storm.verdict import TOKEN
from worker import __main__ as worker
from worker.composition import api as api_process
from worker.composition import worker as composition
from worker.relay.relay import OutboxRelay
from worker.relay.signals import WorkflowSignals
from worker.stack.free_ports import free_ports

T = TypeVar("T")
DIED: Final = 137
_PDEATHSIG: Final = 1

FOLDER: Final = "STORM_CRASH_FOLDER"
"""The environment variable with the folder that contains a file for each point that has been reached."""
ROUND_MARK: Final = "~"
"""In a token, before the number of the round: another process's death may keep an event from its point in a round."""
SOON: Final = timedelta(seconds=1)
"""The time after which Temporal gives a dead worker's workflow task to another one. Its default is 10 s."""
POINTS: Final = (
    "accept-before-commit",
    "accept-after-commit",
    "relay-before-signal",
    "relay-after-signal",
    "relay-before-commit",
    "relay-after-commit",
    "step-before-commit",
    "step-after-commit",
    "deliver-after-accept",
    "settle-before-commit",
    "settle-after-commit",
    "retry",
)


def die(point: str, tokens: Iterable[str]) -> None:
    """End this process as SIGKILL would, if one of these events names the point and it was not reached before."""
    if any(token.partition(ROUND_MARK)[0] == point for token in tokens) and _is_first(point):
        os._exit(DIED)


def _is_first(point: str) -> bool:
    try:
        Path(os.environ[FOLDER], point).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _token(entry: LedgerEntry) -> str:
    return str(entry.data.get("token", ""))


def after(function: Callable[..., Awaitable[T]], hook: Callable[..., None]) -> Callable[..., Any]:
    """Wrap a function so that it calls `hook(result, *arguments)` at its end."""

    @functools.wraps(function)
    async def wrapped(*arguments: Any, **named: Any) -> T:
        result = await function(*arguments, **named)
        hook(result, *arguments)
        return result

    return wrapped


def wrap_worker() -> None:
    """Install every point between the commit of the outbox and the settlement of a message."""
    signalled: set[str] = set()
    signal_run, attempt = WorkflowSignals.send_events, attempts.attempt

    async def signalling(signals: WorkflowSignals, run: Any, subject: str, envelopes: Any) -> None:
        ids = [envelope.id for envelope in envelopes]
        die("relay-before-signal", ids)
        await signal_run(signals, run, subject, envelopes)
        signalled.update(ids)
        die("relay-after-signal", ids)

    async def attempting(deps: Dependencies, entry: LedgerEntry, now: datetime) -> None:
        die("step-after-commit", [_token(entry)])
        die("retry", [_token(entry)])
        await attempt(deps, entry, now)
        die("settle-after-commit", [_token(entry)])

    def accepted(_: Any, __: Any, prepared: Any, ___: Any) -> None:
        match = TOKEN.search(prepared.body)
        token = match[1].decode() if match else ""
        die("deliver-after-accept", [token])
        if token.partition(ROUND_MARK)[0] == "retry":  # died before the first delivery, dies again after the second
            die("retry-again", ["retry-again"])

    for owner, name, hook in (
        (steps.StepTransaction, "apply", lambda applied, _: die("step-before-commit", map(_token, applied.attempts))),
        (EmailChannel, "deliver", accepted),
        (attempts, "record_settlement", lambda _, __, ___, entry, *____: die("settle-before-commit", [_token(entry)])),
        (claims, "mark_delivered", lambda *_: die("relay-before-commit", signalled)),
        (OutboxRelay, "deliver_batch", lambda *_: die("relay-after-commit", signalled)),
    ):
        setattr(owner, name, after(getattr(owner, name), hook))
    setattr(attempts, "attempt", attempting)  # noqa: B010 -- as above
    setattr(WorkflowSignals, "send_events", signalling)  # noqa: B010 -- as above
    shorten_task_timeouts()


def shorten_task_timeouts() -> None:
    """Let Temporal give a dead worker's tasks to another one after `SOON`."""
    start = functools.partialmethod(Client.start_workflow, task_timeout=SOON)
    setattr(Client, "start_workflow", start)  # noqa: B010 -- as above
    composition.worker = functools.partial(composition.worker, sticky_queue_schedule_to_start_timeout=SOON)


def wrap_api() -> None:
    """Install the points before the commit of an event, and between the commit and the answer."""

    def tokens(calls: Iterable[Any]) -> list[str]:
        return [call.message_id for call in calls]

    for owner, name, point in (
        (ingest, "_accept", "accept-before-commit"),
        (intake, "accept", "accept-after-commit"),
    ):
        dying = functools.partial(lambda at, _, __, ___, calls, *____, **_____: die(at, tokens(calls)), point)
        setattr(owner, name, after(getattr(owner, name), dying))


def run_in_children(main: Callable[[], int], *more: Mapping[str, str]) -> int:
    """Run `main` in a forked child, and in a new one when that has died at its point; imports happen only once.

    Forks one more child for each environment in `more`. SIGTERM is passed to all. Returns the highest exit code.
    """
    children: dict[int, Mapping[str, str]] = {}

    def stop(number: int, _: object) -> None:
        for pid in children:
            os.kill(pid, number)

    for environ in ({}, *more):
        children[_fork(main, environ)] = environ
    signal.signal(signal.SIGTERM, stop)
    worst = 0
    while children:
        pid, status = os.wait()
        environ, code = children.pop(pid), os.waitstatus_to_exitcode(status)
        if code == DIED:
            children[_fork(main, environ)] = environ
        worst = max(worst, abs(code) if code != DIED else 0)
    return worst


def _fork(main: Callable[[], int], environ: Mapping[str, str]) -> int:
    pid = os.fork()
    if pid == 0:
        os.environ |= environ
        _run_child(main)
    return pid


def _run_child(main: Callable[[], int]) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)  # the child dies with its parent
    try:
        os._exit(main())
    except BaseException:  # noqa: BLE001 -- a forked child must never go on as its parent
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        wrap_worker()
        (port,) = free_ports(1)  # a second worker takes over while the first is forked again
        raise SystemExit(run_in_children(worker.main, {"TENURE_WORKER_PORT": str(port)}))
    wrap_api()
    raise SystemExit(run_in_children(api_process.main))
