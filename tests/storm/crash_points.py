"""A worker and an API that die at named points, once each, when an event's token names the point: `… crash_points worker`.

The product knows nothing of this: each point is a function of its own, wrapped here. What comes of a death around an attempt, on
every adapter, is `cells.py`; here are the points at which API, relay, Temporal and the step hand over to each other.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, TypeVar

from temporalio.client import Client

from activities import delivery
from activities import step as steps
from activities.channels.email import EmailChannel
from activities.house import House
from api import intake
from store import ingest, outbox
from store.ledger import Entry
from tests.storm.verdict import TOKEN
from worker import __main__ as worker
from worker import build
from worker import http as door
from worker.relay import Relay

T = TypeVar("T")

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
    "retry",
)


def die(point: str, tokens: Iterable[str]) -> None:
    """End this process as SIGKILL would, if one of these events names the point and nobody died of it yet."""
    if any(token.partition(AGAIN)[0] == point for token in tokens) and _first(point):
        os._exit(137)


def _first(point: str) -> bool:
    try:
        Path(os.environ[FOLDER], point).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _token(entry: Entry) -> str:
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
    signal_run, attempt = Relay._signal, delivery.attempt

    async def signalling(relay: Relay, run: Any, subject: str, envelopes: Any) -> None:
        ids = [envelope.id for envelope in envelopes]
        die("relay-before-signal", ids)
        await signal_run(relay, run, subject, envelopes)
        signalled.update(ids)
        die("relay-after-signal", ids)

    async def attempting(house: House, entry: Entry, now: datetime) -> None:
        die("step-after-commit", [_token(entry)])
        die("retry", [_token(entry)])
        await attempt(house, entry, now)

    def accepted(_: Any, __: Any, prepared: Any, ___: Any) -> None:
        found = TOKEN.search(prepared.body)
        token = found[1].decode() if found else ""
        die("deliver-after-accept", [token])
        if token.partition(AGAIN)[0] == "retry":  # it died before its first delivery, and dies again after its second
            die("retry-again", ["retry-again"])

    for owner, name, hook in (
        (steps._Step, "apply", lambda applied, _: die("step-before-commit", map(_token, applied.attempts))),
        (EmailChannel, "deliver", accepted),
        (outbox, "delivered", lambda *_: die("relay-before-commit", signalled)),
        (Relay, "deliver_batch", lambda *_: die("relay-after-commit", signalled)),
    ):
        setattr(owner, name, after(getattr(owner, name), hook))
    setattr(delivery, "attempt", attempting)  # noqa: B010 -- as above
    setattr(Relay, "_signal", signalling)  # noqa: B010 -- as above
    impatient()


def impatient() -> None:
    """What a dead worker had in hand is given to another one soon."""
    quick = functools.partialmethod(Client.start_workflow, task_timeout=SOON)
    setattr(Client, "start_workflow", quick)  # noqa: B010 -- as above
    build.worker = functools.partial(build.worker, sticky_queue_schedule_to_start_timeout=SOON)


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


if __name__ == "__main__":
    if sys.argv[1] == "worker":
        wrap_worker()
        raise SystemExit(worker.main())
    wrap_api()
    raise SystemExit(door.main())
