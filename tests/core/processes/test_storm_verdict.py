"""The storm's arithmetic is Jepsen's: a checker that is wrong would make every storm pass."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.storm.verdict import read_sink, total_queue
from worker.stack.maildir import Maildir

SENT = Counter({"a": 1, "b": 1, "c": 1})


def test_what_was_acknowledged_and_did_not_come_out_is_lost() -> None:
    assert total_queue(SENT, Counter("abc"), Counter("ab")).lost == Counter("c")


def test_what_came_out_twice_is_duplicated_and_not_lost() -> None:
    found = total_queue(SENT, Counter("abc"), Counter("aabc"))
    assert found.duplicated == Counter("a")
    assert not found.lost


def test_what_was_never_sent_is_unexpected() -> None:
    found = total_queue(SENT, Counter("abc"), Counter("abcd"))
    assert found.unexpected == Counter("d")
    assert not found.recovered


def test_what_nobody_answered_for_is_neither_lost_nor_expected_but_recovered_when_it_comes() -> None:
    assert not total_queue(SENT, Counter("ab"), Counter("ab")).lost
    assert total_queue(SENT, Counter("ab"), Counter("abc")).recovered == Counter("c")


def test_the_sink_is_read_by_what_its_mails_say(tmp_path: Path) -> None:
    maildir = Maildir(tmp_path)
    maildir.create()
    for number in (1, 1, 2):
        maildir.add(f"Message-ID: <m{number}@x>\r\nSubject: Ping u{number}-7\r\n\r\nbody\r\n".encode())
    sink = read_sink(tmp_path)
    assert sink.tokens == Counter({"u1-7": 2, "u2-7": 1})
    assert sink.references == Counter({"<m1@x>": 2, "<m2@x>": 1})
