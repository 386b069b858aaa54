"""An outage of the database is one log line, and its end another."""

import asyncio
import logging

import asyncpg
import pytest
from structlog.testing import capture_logs

from store import availability
from store.availability import Availability, belongs_to_outage, log_outage
from worker.logs.repetition import RepeatedErrors


@pytest.fixture
def database(monkeypatch) -> Availability:
    """The availability of this test's process alone, by a clock that stands at the given seconds."""
    times = iter((10.0, 32.5))
    made = Availability(lambda: next(times))
    monkeypatch.setattr(availability, "AVAILABILITY", made)
    return made


def caused_by(error: Exception) -> Exception:
    try:
        raise RuntimeError("a step failed") from error
    except RuntimeError as failure:
        return failure


def test_an_outage_is_logged_when_it_begins_and_when_it_ends(database):
    with capture_logs() as logged:
        for _ in range(100):
            database.failed(ConnectionRefusedError())
            log_outage("loops.store_unreachable", ConnectionRefusedError(), loop="reminders")
        database.answered()
        database.answered()
    assert logged == [
        {"event": "database.unreachable", "error": "ConnectionRefusedError", "log_level": "warning"},
        {"event": "database.reachable", "after_seconds": 22.5, "log_level": "warning"},
    ]


def test_work_that_fails_while_the_database_answers_has_its_own_line(database):
    with capture_logs() as logged:
        log_outage("loops.store_unreachable", asyncpg.DeadlockDetectedError("x"), loop="reminders")
    assert [(line["event"], line["error"]) for line in logged] == [("loops.store_unreachable", "DeadlockDetectedError")]


@pytest.mark.parametrize(
    ("error", "is_down"),
    [
        (asyncpg.ConnectionDoesNotExistError("lost"), True),
        (asyncpg.AdminShutdownError("stopped"), True),
        (asyncpg.CannotConnectNowError("starts"), True),
        (asyncpg.InterfaceError("connection is closed"), True),
        (asyncpg.DeadlockDetectedError("again"), False),
        (asyncpg.UniqueViolationError("twice"), False),
        (OSError("a file of the body"), False),
        (ValueError("a bug"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_only_lost_connections_and_shutdowns_are_an_outage(database, error, is_down):
    with pytest.raises(type(error)), database.watched():
        raise error
    assert database.is_down == is_down


def test_a_cancelled_transaction_says_nothing_of_the_database(database):
    database.failed(ConnectionRefusedError())
    with pytest.raises(asyncio.CancelledError), database.watched():
        raise asyncio.CancelledError
    assert database.is_down


def test_tracebacks_of_the_outage_are_left_out_and_those_of_bugs_are_kept(database):
    """The SDK logs each activity that fails, with its trace."""
    limit = RepeatedErrors()

    def passes(error: Exception) -> bool:
        record = logging.LogRecord(
            "temporalio.activity", logging.WARNING, __file__, 1, "Completing activity as failed", (), None
        )
        record.exc_info = (type(error), error, error.__traceback__)
        return bool(limit.filter(record))

    lost = caused_by(asyncpg.ConnectionDoesNotExistError("lost"))
    assert passes(lost), "no outage has been logged yet"
    database.failed(ConnectionRefusedError())
    assert belongs_to_outage(lost)
    assert not passes(caused_by(ConnectionRefusedError("refused")))
    assert passes(KeyError("a bug"))
    database.answered()
    assert not belongs_to_outage(lost)
