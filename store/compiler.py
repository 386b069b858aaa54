"""Compile SQLAlchemy Core statements to SQL with asyncpg's numbered parameters.

A parameter (`bindparam("key")`) is cast to the type of its column. A constant becomes a literal of the text, so that a
plan that is prepared once still uses partial indexes.
"""

from __future__ import annotations

from typing import Any

import orjson
from sqlalchemy import BindParameter, Executable, Insert, Text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql.asyncpg import PGCompiler_asyncpg, PGDialect_asyncpg
from sqlalchemy.types import String


class _Text(Text):
    render_bind_cast = True


class _Compiler(PGCompiler_asyncpg):
    def visit_bindparam(  # type: ignore[override]  # options are given by name
        self, bindparam: BindParameter[Any], *, literal_binds: bool = False, **options: Any
    ) -> str:
        literal = literal_binds or not bindparam.required
        return str(super().visit_bindparam(bindparam, literal_binds=literal, **options))  # type: ignore[no-untyped-call]

    def render_literal_value(self, value: Any, type_: Any) -> str:
        if value is None:
            return "NULL"  # for jsonb too: a JSON null would be another value
        if isinstance(type_, JSONB):
            value, type_ = orjson.dumps(value).decode(), _Text()
        return str(super().render_literal_value(value, type_))  # type: ignore[no-untyped-call]


class _Dialect(PGDialect_asyncpg):
    statement_compiler = _Compiler
    colspecs = PGDialect_asyncpg.colspecs | {String: _Text}  # cast as TEXT, like our columns, not as VARCHAR
    supports_statement_cache = False
    _backslash_escapes = False


_DIALECT = _Dialect()  # type: ignore[no-untyped-call]


def compile_statement(statement: Executable) -> tuple[str, tuple[str, ...]]:
    """The SQL, and the names of its parameters in order, from `$1`."""
    if isinstance(statement, Insert):
        statement = statement.inline()  # adds no RETURNING of the new key
    compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]  # every executable clause has it
    return compiled.string, tuple(compiled.positiontup)
