"""The table of a message's statuses is total and consistent, and `docs/messages.md` agrees with it."""

from __future__ import annotations

import re

import pytest

from journeys.gate.status import (
    COUNTED,
    INITIAL,
    MEANINGS,
    RESENDABLE,
    SETTLED,
    TRANSITIONS,
    UNSETTLED,
    Status,
    TransitionForbidden,
    check_transition,
    counts,
    final_status,
    sources_of,
    state_diagram,
)
from store.messages.ledger import transition
from tests.support import shipped_catalog

TEXT = (shipped_catalog.DOCS / "messages.md").read_text("utf-8")
S = Status


def test_every_status_has_transitions_and_a_meaning():
    assert set(TRANSITIONS) == set(MEANINGS) == set(Status)


def test_a_message_is_unsettled_or_settled_or_a_part_of_a_digest():
    assert UNSETTLED | SETTLED | {S.MERGED} == set(Status)
    assert len(UNSETTLED) + len(SETTLED) + 1 == len(Status)


def test_only_failed_and_unknown_messages_leave_a_settled_status():
    assert {status for status in SETTLED if TRANSITIONS[status]} == RESENDABLE
    assert TRANSITIONS[S.FAILED] == {S.DEFERRED}
    assert TRANSITIONS[S.UNKNOWN] == {S.DEFERRED, S.MERGED, S.UNKNOWN}


def test_every_status_is_reachable_from_an_initial_one():
    reached = set(INITIAL)
    while (following := reached.union(*(TRANSITIONS[status] for status in reached))) != reached:
        reached = following
    assert reached == set(Status)


def test_a_message_in_doubt_ends_as_unknown():
    assert all(final_status(status, in_doubt=True) is S.UNKNOWN for status in Status)
    assert all(final_status(status, in_doubt=False) is status for status in Status)
    assert S.FAILED not in TRANSITIONS[S.UNKNOWN]


def test_a_deferred_message_counts_for_caps_only_in_doubt():
    assert {status for status in Status if counts(status, in_doubt=False)} == COUNTED
    assert {status for status in Status if counts(status, in_doubt=True)} == COUNTED | {S.DEFERRED}


@pytest.mark.parametrize("source", [None, *Status])
def test_a_transition_outside_the_table_is_refused(source: Status | None) -> None:
    for target in Status:
        if target in (INITIAL if source is None else TRANSITIONS[source]):
            check_transition(source, target)
        else:
            with pytest.raises(TransitionForbidden):
                check_transition(source, target)


def test_no_statement_exists_for_a_transition_outside_the_table():
    for target in Status:
        assert transition(target, sources_of(target)) is not None
        for source in set(Status) - sources_of(target):
            with pytest.raises(TransitionForbidden):
                transition(target, {source})


# -- the page --------------------------------------------------------------------------------------------------------


def test_the_diagram_of_the_page_is_drawn_from_the_table():
    (diagram,) = re.findall(r"```mermaid\n(.*?)```", TEXT, re.DOTALL)
    assert diagram.rstrip() == state_diagram()


def test_the_table_of_the_page_has_the_meaning_of_each_status():
    rows = {row[0]: row[2:] for row in rows_of("| status |")}
    assert list(rows) == [f"`{status}`" for status in Status]
    for status in Status:
        meaning = MEANINGS[status]
        counted = "yes" if status in COUNTED else "in doubt" if counts(status, in_doubt=True) else "no"
        outcome = f"`.{meaning.outcome}`" if meaning.outcome else "–"
        assert rows[f"`{status}`"] == [counted, outcome, f"`{meaning.verdict}`"], status


def rows_of(head: str) -> list[list[str]]:
    """The rows of the page's table with this heading."""
    (table,) = (part for part in TEXT.split("\n\n") if part.startswith(head))
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
