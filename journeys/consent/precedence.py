"""Precedence of consent statements of one channel and topic.

Of each kind of author the newest statement is kept; `in_force` says which of them counts. Both depend on the set of
statements alone, so no order of arrival, delay or repetition changes what is in force. `docs/consent.md` has the rules as
a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final


class StatedBy(StrEnum):
    """Authors of statements.

    `PERSON`: said by the person themselves, by link, page, word or confirmation. `OPERATOR`: entered by an operator with a
    reason. `COMPANY`: everything else, such as traits, signals and imports.
    """

    COMPANY = "company"
    OPERATOR = "operator"
    PERSON = "person"


class StatementEffect(StrEnum):
    """Effects of a statement on what is in force."""

    APPLIED = "applied"
    """What it says is in force."""
    WAITS = "waits"
    """A grant that counts once it is confirmed."""
    STALE = "stale"
    """A grant, or a statement taken back, that is not newer than the newest opt-out: it changes nothing."""
    LATE = "late"
    """An opt-out that is older than a newer grant or taking back: it is listed and changes nothing."""
    PROTECTED = "protected"
    """A grant, or a statement taken back, of the company against an opt-out of the person: it changes nothing."""


@dataclass(frozen=True, slots=True)
class DatedStatement:
    """A grant (True), an opt-out (False) or a statement taken back (None), with its author and its own instant.

    `address` is the keyed hash of the address that a confirmed grant is bound to.
    """

    granted: bool | None
    at: datetime
    by: StatedBy = StatedBy.COMPANY
    source: str = ""
    wording: str = ""
    address: str | None = None


NewestStatements = Mapping[StatedBy, DatedStatement]
"""The newest statement of each kind of author, for one channel and topic."""
NewestByPlace = Mapping[tuple[str, str], NewestStatements]
"""A person's newest statements, by channel and topic."""
_FIRM: Final = frozenset({StatedBy.OPERATOR, StatedBy.PERSON})
"""Authors who alone undo an opt-out of one of them."""
_RANK: Final[Mapping[bool | None, int]] = {True: 0, None: 1, False: 2}
"""Of statements with one instant the opt-out wins, and a taking back wins over a grant."""


def with_statement(newest: NewestStatements, statement: DatedStatement) -> NewestStatements:
    """The newest statements once this one has arrived; the same object if it is not the newest of its author."""
    known = newest.get(statement.by)
    if known is not None and not is_newer(statement, known):
        return newest
    return {**newest, statement.by: statement}


def is_newer(statement: DatedStatement, than: DatedStatement) -> bool:
    """Whether a statement replaces another one, whoever the authors are."""
    return _order(statement) > _order(than)


def in_force(newest: NewestStatements) -> DatedStatement | None:
    """The statement that counts: the newest, but an opt-out of the person or an operator until one of them undoes it."""
    own = _newest(statement for by, statement in newest.items() if by in _FIRM)
    if own is not None and own.granted is False:
        return own
    return _newest(newest.values())


def effect_of(newest: NewestStatements, statement: DatedStatement) -> StatementEffect:
    """The effect of a statement that arrives."""
    counting = in_force(with_statement(newest, statement))
    assert counting is not None
    if counting.granted is statement.granted:
        return StatementEffect.APPLIED
    if statement.granted is False:
        return StatementEffect.LATE
    is_newer = counting.granted is False and statement.at > counting.at
    return StatementEffect.PROTECTED if is_newer else StatementEffect.STALE


def granted_in(newest: NewestByPlace) -> dict[tuple[str, str], bool]:
    """The grants and opt-outs in force."""
    counting = {place: in_force(statements) for place, statements in newest.items()}
    return {
        place: statement.granted
        for place, statement in counting.items()
        if statement is not None and statement.granted is not None
    }


def merged_statements(
    theirs: NewestStatements, mine: NewestStatements, merged: bool | None, at: datetime
) -> NewestStatements:
    """The newest statements of two subjects that become one at an instant, where `merged` is to be in force (U2).

    An opt-out of either stays, even against a newer grant of the other, and stays the person's own if it was.
    """
    newest = mine
    for statement in theirs.values():
        newest = with_statement(newest, statement)
    counting = in_force(newest)
    if merged is not False or (counting is not None and counting.granted is False):
        return newest
    both = (*theirs.values(), *mine.values())
    own = any(statement.granted is False and statement.by in _FIRM for statement in both)
    by = StatedBy.PERSON if own else StatedBy.COMPANY
    return with_statement(newest, DatedStatement(granted=False, at=at, by=by, source="merge"))


def _newest(statements: Iterable[DatedStatement]) -> DatedStatement | None:
    return max(statements, key=_order, default=None)


def _order(statement: DatedStatement) -> tuple[datetime, int]:
    return statement.at, _RANK[statement.granted]
