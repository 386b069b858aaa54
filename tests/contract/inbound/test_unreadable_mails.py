"""Mails of strangers: none occupies the API, and one that no program can read is kept for a person."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Iterator
from email.message import EmailMessage

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings

from api.http.problems import ProblemError
from api.inbound.mail_parsing.mail_parser import MAX_FIELD, read_mail, with_known_headers
from api.inbound.mail_parsing.mail_process import CPU_SECONDS
from api.inbound.mail_parsing.parser_process import MAX_WAITING, MailParserProcess
from tests.support.api import OPERATE, application, served
from tests.support.asgi_calls import MeasuringCaller
from tests.support.hostile_bytes import MAILS

NESTED = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2_000))
QUADRATIC = (
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain"
    + b";" * 300_000
    + b"\r\n\r\nx\r\n--b--"
)
POISON = {
    "comments in comments": b"To: " + b"(" * 1_000 + b"\r\n\r\nHello",
    "many semicolons": b"Content-Type: text/plain" + b";" * 70_000 + b"\r\n\r\nHello",
    "semicolons in a part": QUADRATIC,
    "parts in parts": NESTED,
    "no header": b"Hello, this is no mail",
    "nothing": b"",
    "endless headers": b"X: y\r\n" * 60_000 + b"\r\nHello",
    "an unknown encoding": b"Subject: x\r\nContent-Type: text/plain; charset=nope\r\n\r\nHello",
    "a quotation that backtracks": b"Subject: x\r\n\r\n" + b"Am schrieb " * 90_000,
}
REPLY = (
    b"From: ada@example.com\r\nMessage-ID: <answer@example.com>\r\nIn-Reply-To: <ours@example.com>\r\n\r\nThank you!"
)


async def post(api, raw: bytes) -> dict[str, int]:
    answer = await api.post("/v1/inbound-mails", content=raw, headers={"Content-Type": "message/rfc822"})
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


async def held(api) -> list[dict[str, object]]:
    return [
        item for item in (await api.get("/v1/quarantine?limit=100")).json()["items"] if item["source"] == "inbound-mail"
    ]


@pytest.mark.parametrize("raw", POISON.values(), ids=list(POISON))
async def test_a_mail_is_read_or_kept_for_a_person_and_the_next_one_is_read(api, raw):
    before = len(await held(api))
    taken = await post(api, raw)
    assert taken["taken"] == 0
    assert len(await held(api)) == before + taken.get("held", 0)
    assert await post(api, REPLY) == {"taken": 0}


async def test_a_mail_that_is_sent_again_is_kept_once(api):
    before = len(await held(api))
    for _ in range(3):
        assert await post(api, b"the same again") == {"taken": 0, "held": 1}
    assert len(await held(api)) == before + 1


async def test_a_kept_mail_is_read_and_discarded_by_a_person_and_not_replayed(api):
    await post(api, b"no mail, but with a NUL \x00 and \xff")
    item = (await held(api))[-1]
    assert "read it, answer it by hand" in item["faults"][0]
    assert item["event"] == {"mail": "no mail, but with a NUL \ufffd and \ufffd", "bytes": 31}
    refused = await api.post(f"/v1/quarantine/{item['id']}/replay")
    assert (refused.status_code, "act on it by hand" in refused.text) == (409, True)
    assert (await api.post("/v1/quarantine:replay", params={"name": "inbound-mail"})).json()["replayed"] == 0
    assert (await api.post(f"/v1/quarantine/{item['id']}/discard")).json()["status"] == "discarded"


@pytest.fixture
def parser() -> Iterator[MailParserProcess]:
    made = MailParserProcess()
    yield made
    made.close()


async def test_a_mail_that_costs_too_much_ends_the_process_and_nothing_is_mixed_up(parser):
    assert (await parser.parse(REPLY)).text == "Thank you!"
    first = parser._process.pid
    began = time.monotonic()
    assert await parser.parse(b"Subject: x\r\n" + QUADRATIC) is None
    assert time.monotonic() - began >= CPU_SECONDS / 2
    assert not psutil.pid_exists(first)
    waiting = [asyncio.create_task(parser.parse(REPLY.replace(b"Thank you", b"Number %d" % n))) for n in range(4)]
    given_up = asyncio.create_task(parser.parse(QUADRATIC.replace(b"boundary", b"boundary")))
    await asyncio.sleep(0)
    given_up.cancel()
    assert [(await task).text for task in waiting] == [f"Number {n}!" for n in range(4)]
    assert (await parser.parse(REPLY)).text == "Thank you!"


async def test_a_caller_that_gives_up_leaves_no_result_for_the_next(parser):
    await parser.parse(REPLY)
    for n in range(5):
        slow = asyncio.create_task(parser.parse(b"Subject: x\r\n" + QUADRATIC))
        while not parser._turn.locked():
            await asyncio.sleep(0)
        await asyncio.sleep(0.02 * n)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert (await parser.parse(REPLY)).text == "Thank you!"


async def test_more_mails_than_may_wait_are_sent_again_later(parser):
    waiting = [asyncio.create_task(parser.parse(REPLY)) for _ in range(MAX_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(ProblemError) as refused:
        await parser.parse(REPLY)
    assert refused.value.status_code == 429
    assert len(await asyncio.gather(*waiting)) == MAX_WAITING


async def test_the_process_has_none_of_our_secrets(parser, monkeypatch):
    monkeypatch.setenv("TENURE_OPERATOR_KEY", "a-canary-that-no-parser-needs")
    await parser.parse(REPLY)
    assert not [name for name in psutil.Process(parser._process.pid).environ() if name.startswith("TENURE_")]


def test_the_api_answers_others_while_a_mail_is_parsed(module_database_url):
    with served(application(module_database_url)) as url:
        operator = httpx.Client(base_url=url, auth=(OPERATE, ""), timeout=60)
        operator.post("/v1/inbound-mails", content=REPLY)
        longest, stop = [0.0], threading.Event()

        def look() -> None:
            with httpx.Client(base_url=url, timeout=60) as stranger:
                while not stop.is_set():
                    began = time.monotonic()
                    assert stranger.get("/livez").status_code == 200
                    longest[0] = max(longest[0], time.monotonic() - began)
                    stop.wait(0.02)

        looking = threading.Thread(target=look)
        looking.start()
        for raw in (b"Subject: x\r\n" + QUADRATIC, NESTED, POISON["comments in comments"]):
            assert operator.post("/v1/inbound-mails", content=raw).status_code == 202
        stop.set()
        looking.join()
        operator.close()
    assert longest[0] < 1.5, "while the library alone took many seconds"


@settings(max_examples=30, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(raw=MAILS)
@example(raw=QUADRATIC)
@example(raw=b"To: " + b"a@b," * 80_000 + b"\r\n\r\nHello")
@example(raw=b"Content-Type: message/delivery-status\r\n\r\n" + b"Action: failed\r\n\r\n" * 5_000)
def test_whatever_mail_comes_it_costs_the_api_little_and_is_taken(measured, raw):
    answer = measured.call("POST", "/v1/inbound-mails", raw, [(b"authorization", b"Bearer " + OPERATE.encode())])
    assert answer.status == 202, answer.body
    assert answer.cpu < 0.1 + 0.002 * len(raw) / 1024


@pytest.fixture(scope="module")
def measured(module_database_url) -> Iterator[MeasuringCaller]:
    with MeasuringCaller(application(module_database_url)) as caller:
        caller.call("POST", "/v1/inbound-mails", REPLY, [(b"authorization", b"Bearer " + OPERATE.encode())])
        yield caller


@settings(max_examples=60, suppress_health_check=list(HealthCheck), database=None, derandomize=True)
@given(raw=MAILS)
def test_headers_are_selected_in_linear_time_and_each_is_cut(raw):
    began = time.thread_time()
    try:
        lean = with_known_headers(raw)
    except ValueError:
        return
    assert time.thread_time() - began < 0.1
    head = lean.partition(b"\r\n\r\n")[0]
    assert all(len(line) <= MAX_FIELD for line in head.split(b"\r\n"))


def test_selecting_headers_changes_nothing_that_is_read():
    mail = EmailMessage()
    mail["From"], mail["To"] = "ada@example.com", ", ".join(f"person-{n}@example.com" for n in range(40))
    mail["Message-ID"], mail["References"] = "<1@example.com>", " ".join(f"<{n}@example.com>" for n in range(20))
    mail["DKIM-Signature"], mail["Auto-Submitted"] = "v=1; " + "b" * 2_000, "auto-replied"
    mail.set_content("Grüße")
    read = read_mail(mail.as_bytes())
    assert (read.identity, read.automatic, read.text) == ("<1@example.com>", True, "Grüße")
    assert len(read.to) == 40
    assert len(read.answers) == 20
    assert (
        hashlib.sha256(with_known_headers(mail.as_bytes())).digest()
        == hashlib.sha256(with_known_headers(with_known_headers(mail.as_bytes()))).digest()
    )
