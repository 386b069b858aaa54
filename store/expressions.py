"""Expressions that many statements share: arrays as parameters, filters that may be absent."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, TableValuedAlias, any_, bindparam, column, func, or_
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.elements import NamedColumn


def array_of(name: str, like: ColumnElement[Any]) -> BindParameter[Any]:
    """A parameter that is an array of what the column holds."""
    return bindparam(name, type_=ARRAY(like.type))


def any_of(like: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    """`column = ANY(:name)`: one of an array that is a parameter."""
    return like == any_(array_of(name, like))


def when_given(
    name: str, like: ColumnElement[Any], compare: Callable[[Any, Any], Any] = operator.eq
) -> ColumnElement[bool]:
    """A comparison with a parameter; everything passes where that is null."""
    value = bindparam(name, type_=like.type)
    return or_(value.is_(None), compare(like, value))


def unnest(alias: str, /, **arrays: NamedColumn[Any]) -> TableValuedAlias:
    """Arrays of one length as rows: by parameter, the column that its elements are named and typed as."""
    parameters = [array_of(name, like) for name, like in arrays.items()]
    columns = [column(like.name, like.type) for like in arrays.values()]
    return func.unnest(*parameters).table_valued(*columns).render_derived(name=alias)
