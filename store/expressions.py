"""Expressions that many statements share: array parameters, optional filters, traces."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    BindParameter,
    ColumnElement,
    TableValuedAlias,
    Text,
    any_,
    bindparam,
    cast,
    column,
    func,
    literal,
    or_,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import NamedColumn

_AFTER_ALL = literal(2**63 - 1, BigInteger)
PAST = text("'-infinity'")
"""An instant before all others."""


def _number(transaction: ColumnElement[Any]) -> ColumnElement[int]:
    return cast(cast(transaction, Text), BigInteger)


THIS_TRANSACTION = _number(func.pg_current_xact_id())
OLDEST_TRANSACTION = _number(func.pg_snapshot_xmin(func.pg_current_snapshot()))
"""The oldest running transaction: everything that older ones wrote is visible."""


def array_of(name: str, like: ColumnElement[Any]) -> BindParameter[Any]:
    """An array parameter with elements of the column's type."""
    return bindparam(name, type_=ARRAY(like.type))


def any_of(like: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """`column = ANY(:name)`, where the parameter is an array."""
    return like == any_(array_of(name, like))


def when_given(
    name: str, like: ColumnElement[Any], compare: Callable[[Any, Any], Any] = operator.eq
) -> ColumnElement[bool]:
    """A comparison with a parameter; true for every row if the parameter is null."""
    value = bindparam(name, type_=like.type)
    return or_(value.is_(None), compare(like, value))


def before_given(like: ColumnElement[int]) -> ColumnElement[bool]:
    """The rows below the parameter `before`, or all if it is null: a condition that an index can start at."""
    return like < func.coalesce(bindparam("before", type_=BigInteger), _AFTER_ALL)


def trace_of(like: ColumnElement[Any]) -> ColumnElement[str]:
    """A trace as 32 hexadecimal digits, without hyphens."""
    return func.replace(cast(like, Text), "-", "").label("trace")


def unnest(alias: str, /, *, number: str | None = None, **arrays: NamedColumn[Any]) -> TableValuedAlias:
    """Arrays of equal length as rows: by parameter, the column that gives its elements' name and type.

    `number` is a further column that counts the rows from 1.
    """
    parameters = [array_of(name, like) for name, like in arrays.items()]
    columns = [column(like.name, like.type) for like in arrays.values()]
    rows = func.unnest(*parameters)
    if number is None:
        return rows.table_valued(*columns).render_derived(name=alias)
    return rows.table_valued(*columns, with_ordinality=number).render_derived(name=alias)
