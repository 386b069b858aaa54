"""Every statement of the store is valid SQL for the migrated database, and Core compiles to what asyncpg executes."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Executable, bindparam, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert

import store
from store.database import SqlStatement, as_json, plain_url, sql
from store.expressions import any_of, unnest, when_given
from store.schema import messages, runs, subjects


def statements() -> Iterator[tuple[str, SqlStatement]]:
    for module in pkgutil.walk_packages(store.__path__, "store."):
        if ".migrations" in module.name:
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            values = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,)
            for number, item in enumerate(values):
                if isinstance(item, SqlStatement):
                    yield f"{module.name}.{name}[{number}]", item


def test_statements_of_core_join_explicitly() -> None:
    """Core writes `FROM a, b` for a subquery that it does not correlate, or for a missing join."""
    joined = [name for name, statement in statements() if re.search(r" FROM \w+( AS \w+)?, ", _of_core(statement))]
    assert joined == []


def _of_core(statement: SqlStatement) -> str:
    return "" if isinstance(statement._source, str) else " ".join(statement.text.split())


async def test_every_statement_is_valid_sql(database_url: str) -> None:
    connection = await asyncpg.connect(plain_url(database_url))
    broken, count = [], 0
    for name, statement in statements():
        count += 1
        try:
            prepared = await connection.prepare(statement.text)
        except asyncpg.PostgresError as error:
            broken.append(f"{name}: {error}\n{statement.text}")
        else:
            assert len(prepared.get_parameters()) == len(statement.names), name
    await connection.close()
    assert not broken, "\n".join(broken)
    assert count > 200


@pytest.mark.parametrize(
    ("statement", "text", "names"),
    [
        (
            select(messages.c.key).where(messages.c.recipient == bindparam("person"), messages.c.status == "deferred"),
            "SELECT messages.key FROM messages WHERE messages.recipient = $1::TEXT AND messages.status = 'deferred'",
            ("person",),
        ),
        (
            update(runs).where(runs.c.id == bindparam("id")).values(outcome=bindparam("outcome"), memory=bindparam("memory")),
            "UPDATE runs SET outcome=$1::TEXT, memory=$2::JSONB WHERE runs.id = $3::TEXT",
            ("outcome", "memory", "id"),
        ),
        (
            select(runs.c.id).where(any_of(runs.c.lane, "lanes"), when_given("journey", runs.c.journey)).limit(bindparam("most")),
            "SELECT runs.id FROM runs WHERE runs.lane = ANY ($1::TEXT[]) AND ($2::TEXT IS NULL OR runs.journey = $2::TEXT) LIMIT $3",
            ("lanes", "journey", "most"),
        ),
        (
            select(messages.c.key).where(or_(messages.c.key.like("digest/%"), messages.c.detail == "it's a \\ and 100 %")),
            "SELECT messages.key FROM messages WHERE messages.key LIKE 'digest/%' OR messages.detail = 'it''s a \\ and 100 %'",
            (),
        ),
        (
            select(messages.c.key).where(messages.c.reasons.contains([{"code": "held"}])).with_for_update(key_share=True),
            "SELECT messages.key FROM messages WHERE messages.reasons @> '[{\"code\":\"held\"}]' FOR NO KEY UPDATE",
            (),
        ),
        (
            select(runs.c.id).where(runs.c.started_at < func.clock_timestamp() - timedelta(minutes=1)),
            "SELECT runs.id FROM runs WHERE runs.started_at < clock_timestamp() - make_interval(secs=>60.0)",
            (),
        ),
    ],
)  # fmt: skip
def test_core_compiles_to_numbered_parameters_and_literal_constants(
    statement: Executable, text: str, names: tuple[str, ...]
) -> None:
    compiled = sql(statement)
    assert (" ".join(compiled.text.split()), compiled.names) == (text, names)


def test_a_name_used_twice_is_one_parameter() -> None:
    statement = sql(
        select(runs.c.id).where(or_(runs.c.lane == bindparam("key"), runs.c.subject_key == bindparam("key")))
    )
    assert statement.text.count("$1") == 2
    assert statement.arguments({"key": "u_1"}) == ["u_1"]


async def test_arrays_are_inserted_as_rows(database_url: str) -> None:
    given = unnest("given", keys=subjects.c.key, profiles=subjects.c.profile)
    put = sql(
        insert(subjects)
        .from_select(["key", "kind", "profile"], select(given.c.key, literal("user"), given.c.profile))
        .on_conflict_do_nothing()
        .returning(subjects.c.key, subjects.c.profile)
    )
    values: dict[str, Any] = {"keys": ["u_1", "u_2"], "profiles": [as_json({"n": 1}), as_json({})]}
    connection = await asyncpg.connect(plain_url(database_url))
    rows = await connection.fetch(put.text, *put.arguments(values))
    await connection.close()
    assert [tuple(row) for row in rows] == [("u_1", '{"n": 1}'), ("u_2", "{}")]
