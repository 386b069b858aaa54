"""Children that exit at the point of their cell: `python -m tests.storm.dying_process CONFIG`.

The imports of a worker take a second, so they are done once and each child is forked from here. The product has no code
for this: each point is a function that is wrapped here. At the points of acceptance the provider kills the process.
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
from tests.storm.cell_setup import CellRunner, Config
from tests.storm.crash_cells import Cell
from tests.storm.naive_worker import send_then_record
from worker.loops.crm_sync import CrmSync

T = TypeVar("T")
AT_ONCE: Final = os.cpu_count() or 1
DIED: Final = 137
LOOKUPS: Final = ("/token", "/search", "/batch/read", "/composite/sobjects/Task")
"""Ends of URLs whose requests hand no message over."""


def main(path: Path) -> None:
    """Fork a child for each cell, and write their exit codes to `exits.json` beside the configuration."""
    config = Config.read(path)
    runner = CellRunner(config)
    gc.freeze()
    exits: dict[str, int] = {}
    waiting, children = iter(Cell(**fields) for fields in config.cells), dict[int, str]()
    while _fork_children(children, waiting, runner) or children:
        pid, status = os.wait()
        code = os.waitstatus_to_exitcode(status)
        exits[children.pop(pid)] = DIED if code < 0 else code
    (path.parent / "exits.json").write_text(json.dumps(exits))


def _fork_children(children: dict[int, str], waiting: Iterator[Cell], runner: CellRunner) -> bool:
    while len(children) < AT_ONCE and (cell := next(waiting, None)) is not None:
        pid = os.fork()
        if pid == 0:
            _run_child(cell, runner)
        children[pid] = cell.marker
    return bool(children)


def _run_child(cell: Cell, runner: CellRunner) -> NoReturn:
    """Do the work of a cell and exit: 0 if the process survived, 137 if it died at its point, 1 on an error."""
    try:
        (Path(runner.config.folder) / f"{cell.marker}.pid").write_text(str(os.getpid()))
        if runner.config.naive:
            setattr(evaluation.GatePass, "add", send_then_record)  # noqa: B010 -- as the control's worker
        _arm(cell)
        asyncio.run(runner.finish(cell) if runner.config.again else runner.work(cell))
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
    """Whether this request hands the message over, and is no lookup."""
    return call.method != "GET" and not call.url.endswith(LOOKUPS)


def before(owner: Any, name: str, when: Callable[..., bool] = lambda *_: True) -> None:
    """Let the process die when this method is called, if `when` returns true."""
    function = getattr(owner, name)

    @functools.wraps(function)
    async def wrapped(*arguments: Any, **named: Any) -> Any:
        if when(*arguments):
            die()
        return await function(*arguments, **named)

    setattr(owner, name, wrapped)


def after(owner: Any, name: str) -> None:
    """Let the process die when this method has done its work, before its caller continues."""
    function: Callable[..., Awaitable[T]] = getattr(owner, name)

    @functools.wraps(function)
    async def wrapped(*arguments: Any, **named: Any) -> T:
        await function(*arguments, **named)
        die()

    setattr(owner, name, wrapped)


def _die_with_the_last_byte() -> None:
    """Die when the whole request is sent and no answer is read: HTTP, SMTP, and the blocking HTTP of apprise."""
    handing_over = False
    send, note = http_client.HttpClient.send, http_client._Progress.note

    async def sending(self: http_client.HttpClient, call: http_client.HttpRequest) -> http_client.HttpReply:
        nonlocal handing_over
        handing_over = handed_over(self, call)
        return await send(self, call)

    async def noting(self: Any, part: str, info: Any) -> None:
        await note(self, part, info)
        if handing_over and part == "http11.send_request_body.complete":
            die()

    class RecordedProgress(smtp_pool.SendProgress):
        def __init__(self, **fields: Any) -> None:
            super().__init__(**fields)
            mails.append(self)

    mails: list[smtp_pool.SendProgress] = []
    read = SMTPProtocol.read_response

    async def reading(self: SMTPProtocol, *arguments: Any, **named: Any) -> Any:
        if any(mail.dot_sent for mail in mails):
            die()
        return await read(self, *arguments, **named)

    for owner, name, value in (
        (http_client.HttpClient, "send", sending),
        (http_client._Progress, "note", noting),
        (smtp, "SendProgress", RecordedProgress),
        (SMTPProtocol, "read_response", reading),
        (http.client.HTTPConnection, "getresponse", die),
    ):
        assert hasattr(owner, name), f"{owner} has no {name} to replace"
        setattr(owner, name, value)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
