"""The verdict of a storm uses the arithmetic of Jepsen's total-queue checker."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.storm.verdict import read_sink, total_queue
from worker.stack.maildir import Maildir

SENT = Counter({"a": 1, "b": 1, "c": 1})


def test_an_acknowledged_event_that_is_not_delivered_is_lost() -> None:
    assert total_queue(SENT, Counter("abc"), Counter("ab")).lost == Counter("c")


def test_an_event_delivered_twice_is_duplicated_and_not_lost() -> None:
    queue = total_queue(SENT, Counter("abc"), Counter("aabc"))
    assert queue.duplicated == Counter("a")
    assert not queue.lost


def test_a_delivered_event_that_was_never_sent_is_unexpected() -> None:
    queue = total_queue(SENT, Counter("abc"), Counter("abcd"))
    assert queue.unexpected == Counter("d")
    assert not queue.recovered


def test_an_unacknowledged_event_is_not_lost_and_is_recovered_if_it_is_delivered() -> None:
    assert not total_queue(SENT, Counter("ab"), Counter("ab")).lost
    assert total_queue(SENT, Counter("ab"), Counter("abc")).recovered == Counter("c")


def test_the_sink_counts_tokens_of_subjects_and_message_ids(tmp_path: Path) -> None:
    maildir = Maildir(tmp_path)
    maildir.create()
    for number in (1, 1, 2):
        maildir.add(f"Message-ID: <m{number}@x>\r\nSubject: Ping u{number}-7\r\n\r\nbody\r\n".encode())
    sink = read_sink(tmp_path)
    assert sink.tokens == Counter({"u1-7": 2, "u2-7": 1})
    assert sink.references == Counter({"<m1@x>": 2, "<m2@x>": 1})
