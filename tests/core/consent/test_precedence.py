"""Precedence of consent statements: no order of arrival, delay or repetition changes what is in force (C5)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeys.consent.precedence import (
    DatedStatement,
    NewestStatements,
    StatedBy,
    StatementEffect,
    effect_of,
    in_force,
    with_statement,
)

START = datetime(2026, 5, 3, 10, tzinfo=UTC)
COMPANY, OPERATOR, PERSON = StatedBy.COMPANY, StatedBy.OPERATOR, StatedBy.PERSON
FIRM = (OPERATOR, PERSON)


def said(granted: bool | None, hour: float, by: StatedBy = COMPANY) -> DatedStatement:
    return DatedStatement(granted, START + timedelta(hours=hour), by)


def after(*statements: DatedStatement) -> NewestStatements:
    newest: NewestStatements = {}
    for statement in statements:
        newest = with_statement(newest, statement)
    return newest


def counts(statements: Iterable[DatedStatement]) -> bool | None:
    statement = in_force(after(*statements))
    return statement.granted if statement is not None else None


STATEMENTS = st.lists(
    st.builds(said, st.sampled_from([True, False, None]), st.integers(0, 4), st.sampled_from(list(StatedBy))),
    max_size=7,
)


@given(STATEMENTS, st.data())
def test_C5_no_order_of_arrival_and_no_repetition_changes_what_is_in_force(statements, data):
    arrived = data.draw(st.permutations(statements + data.draw(st.lists(st.sampled_from(statements or [said(True, 0)]))
                        if statements else st.just([]))))  # fmt: skip
    assert counts(arrived) == counts(statements)


@given(STATEMENTS)
def test_C5_what_is_in_force_is_what_the_table_says(statements):
    """The table of docs/consent.md, over the whole set of statements at once."""
    own = [statement for statement in statements if statement.by in FIRM]
    no = max((statement.at for statement in own if statement.granted is False), default=None)
    undone = no is None or any(statement.at > no and statement.granted is not False for statement in own)
    if not undone:
        assert counts(statements) is False
        return
    newest = max((statement.at for statement in statements), default=None)
    last = {statement.granted for statement in statements if statement.at == newest}
    assert counts(statements) is (False if False in last else None if None in last or not last else True)


@given(STATEMENTS, st.builds(said, st.sampled_from([True, None]), st.integers(0, 4), st.just(COMPANY)))
def test_C5_the_company_undoes_no_opt_out_of_the_person(statements, late):
    own = [statement for statement in statements if statement.by in FIRM]
    if counts(own) is False:
        assert counts([*statements, late]) is False


@pytest.mark.parametrize(
    ("before", "arrives", "effect", "granted"),
    [
        ((said(False, 5, PERSON),), said(True, 0), "stale", False),
        ((said(False, 5),), said(None, 0), "stale", False),
        ((said(False, 5),), said(True, 5), "stale", False),
        ((said(False, 5),), said(True, 6), "applied", True),
        ((said(False, 5, PERSON),), said(True, 6), "protected", False),
        ((said(False, 5, PERSON),), said(None, 6), "protected", False),
        ((said(False, 5, PERSON),), said(True, 6, PERSON), "applied", True),
        ((said(False, 5, PERSON),), said(None, 6, OPERATOR), "applied", None),
        ((said(True, 5),), said(False, 4), "late", True),
        ((said(None, 5),), said(False, 4), "late", None),
        ((said(True, 5),), said(False, 5), "applied", False),
        ((said(True, 5),), said(False, 4, PERSON), "applied", False),
        ((said(True, 5, PERSON),), said(False, 4, PERSON), "late", True),
        ((), said(False, -24 * 365), "applied", False),
    ],
)  # fmt: skip
def test_C5_a_stale_yes_changes_nothing_and_a_late_no_is_listed(before, arrives, effect, granted):
    newest = after(*before)
    assert effect_of(newest, arrives) is StatementEffect(effect)
    assert counts([*before, arrives]) is granted
