"""Processes that die: `python -m tests.storm.dying_process CONFIG` does the work of each cell in a child that exits at its point.

The imports of a worker take a second, so they are done once and each child is forked from here, two at a time. The product
knows nothing of this: each point is a function of its own, wrapped here. At the provider's own points the provider kills.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import http.client
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import apprise
from aiosmtplib.protocol import SMTPProtocol

from activities.channels.email import smtp, smtp_pool
from activities.delivery import attempts
from activities.exports.audiences.sync import AudienceSync
from activities.exports.crm.hubspot import HubSpot
from activities.exports.crm.salesforce import Salesforce
from activities.gate import evaluation
from activities.outgoing import client as http_client
from activities.steps import apply as steps
from store.exports import audiences, crm_tasks
from tests.storm.cell_setup import Config, Stand
from tests.storm.crash_cells import Cell
from tests.storm.naive_worker import send_then_record
from worker.loops.crm_sync import CrmSync

T = TypeVar("T")
AT_ONCE: Final = os.cpu_count() or 1
DIED: Final = 137
ASKS: Final = ("/token", "/search", "/batch/read", "/composite/sobjects/Task")
"""Ends of addresses to which nothing is handed over."""


def main(path: Path) -> None:
    """Fork a child for each cell; write each one's exit code beside the configuration."""
    config = Config.read(path)
    stand = Stand(config)
    gc.freeze()
    exits: dict[str, int] = {}
    left, living = iter(Cell(**each) for each in config.cells), dict[int, str]()
    while _fill(living, left, stand) or living:
        pid, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        exits[living.pop(pid)] = DIED if code < 0 else code
    (path.parent / "exits.json").write_text(json.dumps(exits))


def _fill(living: dict[int, str], left: Iterator[Cell], stand: Stand) -> bool:
    while len(living) < AT_ONCE and (cell := next(left, None)) is not None:
        pid = os.fork()
        if pid == 0:
            _live(cell, stand)
        living[pid] = cell.marker
    return bool(living)


def _live(cell: Cell, stand: Stand) -> NoReturn:
    """A worker's life: 0 if it survived its work, 137 if it died, 1 if the work went wrong."""
    try:
        (Path(stand.config.folder) / f"{cell.marker}.pid").write_text(str(os.getpid()))
        if stand.config.naive:
            setattr(evaluation.GatePass, "add", send_then_record)  # noqa: B010 -- as the control's worker
        _arm(cell)
        asyncio.run(stand.go_on(cell) if stand.config.again else stand.work(cell))
    except BaseException:  # noqa: BLE001 -- a forked child must never go on as its parent
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def die(*_: Any, **__: Any) -> NoReturn:
    """End this process as SIGKILL would."""
    os._exit(DIED)


def _arm(cell: Cell) -> None:
    match cell.point:
        case "row-before":
            after(steps.StepTransaction, "apply")
            after(crm_tasks, "claim_stale_task")
        case "row-after":
            before(attempts, "attempt_all")
            before(HubSpot, "push")
            before(Salesforce, "push")
        case "hand-over-before":
            before(http_client.HttpClient, "send", handed_over)
            before(smtp_pool.SmtpPool, "send")
            setattr(apprise.NotifyBase, "notify", die)  # noqa: B010 -- as above
        case "hand-over-after":
            _die_with_the_last_byte()
        case "mark-before":
            after(attempts, "record_settlement")
            after(audiences, "record_synced")
            after(crm_tasks, "mark_pushed")
        case "mark-after":
            after(attempts, "attempt")
            after(AudienceSync, "_sync")
            after(CrmSync, "_push")


def handed_over(_: Any, call: http_client.HttpRequest) -> bool:
    """Whether this request is the message itself, and no question."""
    return call.method != "GET" and not call.url.endswith(ASKS)


def before(owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    """Die when it is called, if `when` says so."""
    function = getattr(owner, name)

    @functools.wraps(function)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            die()
        return await function(*arguments, **named)

    setattr(owner, name, wrapped)


def after(owner: Any, name: str) -> None:
    """Die when it has done its work and nobody has seen it yet."""
    function: Callable[..., Awaitable[T]] = getattr(owner, name)

    @functools.wraps(function)
    async def wrapped(*arguments: Any, **named: Any) -> T:
        await function(*arguments, **named)
        die()

    setattr(owner, name, wrapped)


def _die_with_the_last_byte() -> None:
    """The system has all of it, and no answer was read: HTTP, SMTP, and the blocking HTTP of apprise."""
    handing = False
    send, note = http_client.HttpClient.send, http_client._Progress.note

    async def sending(self: http_client.HttpClient, call: http_client.HttpRequest) -> http_client.HttpReply:
        nonlocal handing
        handing = handed_over(self, call)
        return await send(self, call)

    async def noting(self: Any, part: str, info: Any) -> None:
        await note(self, part, info)
        if handing and part == "http11.send_request_body.complete":
            die()

    class Dying(smtp_pool.SendProgress):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given)
            mails.append(self)

    mails: list[smtp_pool.SendProgress] = []
    read = SMTPProtocol.read_response

    async def reading(self: SMTPProtocol, *arguments: Any, **named: Any) -> Any:
        if any(each.dot_sent for each in mails):
            die()
        return await read(self, *arguments, **named)

    for owner, name, value in (
        (http_client.HttpClient, "send", sending),
        (http_client._Progress, "note", noting),
        (smtp, "SendProgress", Dying),
        (SMTPProtocol, "read_response", reading),
        (http.client.HTTPConnection, "getresponse", die),
    ):
        assert hasattr(owner, name), f"{owner} has no {name} to replace"
        setattr(owner, name, value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
