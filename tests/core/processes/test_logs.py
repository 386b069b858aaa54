"""Logs: no values of local variables, nothing personal, no secret, and no flood of equal errors."""

from __future__ import annotations

import io
import logging
import sys
import time
from collections.abc import Callable, Iterator

import pytest
import structlog
from pydantic import BaseModel, SecretStr, ValidationError

from worker.logs.configuration import configure_logging
from worker.logs.redaction import redacted_field, redacted_text
from worker.logs.repetition import RepeatedErrors
from worker.logs.tracebacks import message_of, render_traceback

ADDRESS, NUMBER, PASSWORD = "ada.lovelace@example.com", "+4915112345678", "hunter2-hunter2"
URL = f"postgresql+asyncpg://tenure:{PASSWORD}@db.example.com/tenure"
MAIL = "Dear support, my invoice 4711 is wrong. Yours, Ada Lovelace"


@pytest.fixture(params=["console", "json"])
def logged(request, monkeypatch) -> Iterator[Callable[[], str]]:
    """What a process of ours has logged so far; how it logs is undone afterwards."""
    root, kept, output = logging.getLogger(), structlog.get_config(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(logging, "raiseExceptions", True)
    configure_logging(request.param)
    yield output.getvalue
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**kept)


def fail(signing_key: str, mail: str) -> None:
    """An error in a frame that holds secrets, with a value in its message."""
    url, password = URL, PASSWORD
    try:
        int(mail)
    except ValueError as error:
        raise LookupError(f"nothing for {ADDRESS} at {url} with {password!r} and {signing_key!r}") from error


def failed() -> Exception:
    try:
        fail("k" * 40, MAIL)
    except LookupError as error:
        return error
    raise AssertionError


def assert_nothing_told(text: str) -> None:
    for canary in (ADDRESS, "lovelace", PASSWORD, "k" * 40, MAIL, "invoice", NUMBER, "15112345678"):
        assert canary not in text


def test_an_unforeseen_error_is_logged_with_places_and_without_values(logged):
    log = structlog.get_logger()
    log.error("api.unforeseen", exc_info=failed())
    try:
        fail("k" * 40, MAIL)
    except LookupError:
        log.exception("rounds.failed", what="reminders")
        logging.getLogger("temporalio.activity").exception("Completing activity as failed")
    text = logged()
    assert text.count("in fail") >= 3
    assert "LookupError" in text
    assert "ValueError" in text
    assert "reminders" in text
    assert_nothing_told(text)


def test_fields_are_redacted_by_type_by_name_and_by_pattern(logged):
    class Order(BaseModel):
        mail: str

    structlog.get_logger().info(
        "event.taken", to=ADDRESS, phone=NUMBER, url=URL, body=MAIL.encode(), order=Order(mail=ADDRESS),
        write_key="k" * 40, nested={"password": PASSWORD, "of": [ADDRESS]}, key=SecretStr(PASSWORD), people=3,
        header=f"Bearer {'k' * 40}", link="https://x.example/u/" + "A" * 50, error=LookupError(ADDRESS), kept="setup/first-steps",
    )  # fmt: skip
    logging.getLogger("elsewhere").warning("failed for %s at %s", ADDRESS, URL)
    text = logged()
    assert_nothing_told(text)
    assert "setup/first-steps" in text
    assert "<Order>" in text
    assert "db.example.com" in text


def test_a_plain_field_stays_as_it_is():
    run = "journey/setup-and-activation/u_0123456789abcdef/-/1"
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    for text in (run, trace, "127.0.0.1:8400", "2026-05-03T10:00:00+00:00", "TimeoutError", "key missing: name"):
        assert redacted_text(text) == text
    assert redacted_field("task_id", 123_456_789_012) == 123_456_789_012


@pytest.mark.parametrize(
    "secret",
    ["password=hunter2x", "token: abcdefgh", "whsec_ZGV2LXByb3ZpZGVy", "Basic dXNlcjpwYXNz", "xoxb-123456-abcdef", "SG.abcdefghij", "tenure_sk_abcdefgh"],
)  # fmt: skip
def test_a_credential_in_a_text_is_hidden(secret):
    assert secret not in redacted_text(f"refused: {secret}")


def test_the_message_of_a_wrong_setting_or_row_has_no_value():
    class Model(BaseModel):
        age: int

    with pytest.raises(ValidationError) as caught:
        Model(age=MAIL)
    assert_nothing_told(message_of(caught.value))
    row = LookupError(f"violates a constraint\nDETAIL:  Key (value)=({MAIL}) already exists.")
    assert message_of(row) == "violates a constraint"


def test_a_chain_and_a_group_are_rendered_and_a_loop_ends():
    one, other = ValueError("one"), LookupError("other")
    one.__context__, other.__context__ = other, one
    assert "LookupError: other" in render_traceback(one)
    assert "| builtins.ValueError: in it" in render_traceback(ExceptionGroup("several", [ValueError("in it")]))


def test_redaction_takes_linear_time_whatever_the_text():
    for text in ("@" * 100_000, "a.b@" * 25_000, "1 " * 50_000, "://" * 30_000, "token=" * 20_000, "'" * 100_000):
        began = time.thread_time()
        redacted_text(text)
        message_of(LookupError(text))
        assert time.thread_time() - began < 1.0, text[:6]


def record(number: int = 0, error: Exception | None = None, level: int = logging.ERROR) -> logging.LogRecord:
    fields = {"event": "api.unforeseen", "exc_info": error} if error is not None else {"event": "relay", "n": number}
    return logging.LogRecord("tenure", level, "", 0, fields, (), None)


def test_the_same_error_is_logged_once_a_second_with_the_number_of_those_dropped():
    clock = [0.0]
    limit, error = RepeatedErrors(lambda: clock[0]), failed()
    assert [limit.filter(record(error=error)) for _ in range(4)] == [True, False, False, False]
    assert limit.filter(record(error=LookupError("another place")))
    assert limit.filter(record(1))
    assert limit.filter(record(2)), "another text is another warning"
    assert all(limit.filter(record(3, level=logging.INFO)) for _ in range(3))
    clock[0] = 1.1
    again = record(error=error)
    assert limit.filter(again)
    assert again.msg["repeated"] == 3


def test_ten_thousand_equal_errors_cost_little(logged):
    error, log = failed(), structlog.get_logger()
    began = time.thread_time()
    for _ in range(10_000):
        log.error("api.unforeseen", exc_info=error)
    assert time.thread_time() - began < 5.0
    assert logged().count("api.unforeseen") < 10


def test_the_error_that_ends_the_process_is_logged_without_values_and_a_broken_output_tells_nothing(logged):
    error = failed()
    sys.excepthook(type(error), error, error.__traceback__)
    assert "process.failed" in logged()
    assert_nothing_told(logged())
    assert not logging.raiseExceptions
