"""A worker and an API that die at named points, once each, when an event's token names the point: `… crash_points worker`.

The product knows nothing of this: each point is a function of its own, wrapped here. What comes of a death around an attempt, on
every adapter, is `cells.py`; here are the points at which API, relay, Temporal and the step hand over to each other.
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
from worker.composition import api as door
from worker.composition import worker as composition
from worker.relay.relay import OutboxRelay
from worker.stack.free_ports import free_ports

T = TypeVar("T")
DIED: Final = 137
_PDEATHSIG: Final = 1

FOLDER: Final = "STORM_CRASH_FOLDER"
"""The environment's name of the folder that remembers who has died already."""
AGAIN: Final = "~"
"""In a token, before the number of the round: who dies beside others may not come to its own point at first."""
SOON: Final = timedelta(seconds=1)
"""After which Temporal takes a workflow task of a dead worker back. By itself it waits for 10 s, which prove nothing more."""
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
    """End this process as SIGKILL would, if one of these events names the point and nobody died of it yet."""
    if any(token.partition(AGAIN)[0] == point for token in tokens) and _first(point):
        os._exit(DIED)


def _first(point: str) -> bool:
    try:
        Path(os.environ[FOLDER], point).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _token(entry: LedgerEntry) -> str:
    return str(entry.data.get("token", ""))


def after(function: Callable[..., Awaitable[T]], hook: Callable[..., None]) -> Callable[..., Any]:
    """The function, and then `hook(result, *arguments)`."""

    @functools.wraps(function)
    async def wrapped(*arguments: Any, **named: Any) -> T:
        result = await function(*arguments, **named)
        hook(result, *arguments)
        return result

    return wrapped


def wrap_worker() -> None:
    """Every point between a commit of the outbox and the settling of a message."""
    signalled: set[str] = set()
    signal_run, attempt = OutboxRelay._signal, attempts.attempt

    async def signalling(relay: OutboxRelay, run: Any, subject: str, envelopes: Any) -> None:
        ids = [envelope.id for envelope in envelopes]
        die("relay-before-signal", ids)
        await signal_run(relay, run, subject, envelopes)
        signalled.update(ids)
        die("relay-after-signal", ids)

    async def attempting(deps: Dependencies, entry: LedgerEntry, now: datetime) -> None:
        die("step-after-commit", [_token(entry)])
        die("retry", [_token(entry)])
        await attempt(deps, entry, now)
        die("settle-after-commit", [_token(entry)])

    def accepted(_: Any, __: Any, prepared: Any, ___: Any) -> None:
        found = TOKEN.search(prepared.body)
        token = found[1].decode() if found else ""
        die("deliver-after-accept", [token])
        if token.partition(AGAIN)[0] == "retry":  # it died before its first delivery, and dies again after its second
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
    setattr(OutboxRelay, "_signal", signalling)  # noqa: B010 -- as above
    impatient()


def impatient() -> None:
    """What a dead worker had in hand is given to another one soon."""
    quick = functools.partialmethod(Client.start_workflow, task_timeout=SOON)
    setattr(Client, "start_workflow", quick)  # noqa: B010 -- as above
    composition.worker = functools.partial(composition.worker, sticky_queue_schedule_to_start_timeout=SOON)


def wrap_api() -> None:
    """Before an event is committed, and between that and the answer."""

    def tokens(calls: Iterable[Any]) -> list[str]:
        return [call.message_id for call in calls]

    for owner, name, point in (
        (ingest, "_accept", "accept-before-commit"),
        (intake, "accept", "accept-after-commit"),
    ):
        dying = functools.partial(lambda at, _, __, ___, calls, *____, **_____: die(at, tokens(calls)), point)
        setattr(owner, name, after(getattr(owner, name), dying))


def lives(life: Callable[[], int], *also: Mapping[str, str]) -> int:
    """Live in a child, and in another one when that has died at its point: what a start imports is paid for once.

    One more child for each environment in `also`. Told to stop, all are told, and the worst of their exit codes is ours.
    """
    living: dict[int, Mapping[str, str]] = {}

    def stop(number: int, _: object) -> None:
        for pid in living:
            os.kill(pid, number)

    for each in ({}, *also):
        living[_born(life, each)] = each
    signal.signal(signal.SIGTERM, stop)
    worst = 0
    while living:
        pid, status = os.wait()
        environ, code = living.pop(pid), os.waitstatus_to_exitcode(status)
        if code == DIED:
            living[_born(life, environ)] = environ
        worst = max(worst, abs(code) if code != DIED else 0)
    return worst


def _born(life: Callable[[], int], environ: Mapping[str, str]) -> int:
    pid = os.fork()
    if pid == 0:
        os.environ |= environ
        _live(life)
    return pid


def _live(life: Callable[[], int]) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PDEATHSIG, signal.SIGKILL)  # whoever kills the parent means this process
    try:
        os._exit(life())
    except BaseException:  # noqa: BLE001 -- a forked child must never go on as its parent
        traceback.print_exc()
        os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        wrap_worker()
        (port,) = free_ports(1)  # what one worker leaves behind the other takes up, while the first is forked again
        raise SystemExit(lives(worker.main, {"TENURE_WORKER_PORT": str(port)}))
    wrap_api()
    raise SystemExit(lives(door.main))
