"""Random rows of people in every table, made from the schema, and which rows are whose.

Columns are known by their names alone, so that this does not repeat the rules of the product.
"""

from __future__ import annotations

import random
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, DateTime, Integer, LargeBinary, Table, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from journeys.tokens.address_hash import AddressHash
from store.schema import metadata

KEYS = {"subject_key", "recipient", "person_key", "lane"}
RUNS = {"run", "target"}
_ENUM = re.compile(r'"?(\w+)"? IN \(((?:\'\w+\'(?:, )?)+)\)')


@dataclass
class Named:
    """A random person: everything by which a row may name them."""

    number: int
    hashes: AddressHash
    mark: str = ""
    keys: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    tasks: list[int] = field(default_factory=list)
    inbox: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.mark = uuid.uuid4().hex[:12]
        self.keys = [f"u_{self.mark}", f"u_visitor{self.mark}"]
        self.runs = [f"journey/random/{key}/-/1" for key in self.keys]
        self.messages = [f"{run}/1/hello{n}" for run in self.runs for n in range(2)]

    @property
    def user(self) -> str:
        return f"user-{self.mark}"

    @property
    def digests(self) -> list[str]:
        return self.hashes.digests("email", self.address)

    @property
    def address(self) -> str:
        return f"{self.mark}@example.com"

    def names(self, table: str, column: Column[Any]) -> list[Any]:
        """The values with which this column names the person; empty if it names nobody."""
        if table in {"api_keys", "message_ids", "clocks"}:  # digests of other things, and targets of clocks
            return []
        exact: dict[tuple[str, str], list[Any]] = {
            ("subjects", "key"): self.keys,
            ("runs", "id"): self.runs,
            ("messages", "key"): self.messages,
            ("inbox", "key"): self.inbox,
            ("tasks", "id"): self.tasks,
            ("quarantine", "event"): [{"userId": self.user, "event": "x"}, {"anonymousId": f"visitor-{self.mark}"}],
            ("conversations", "message_id"): self.numbers,
            ("feed", "message"): self.numbers,
            ("clicks", "message"): self.messages,
        }
        by_name: dict[str, list[Any]] = {
            **dict.fromkeys(KEYS, self.keys),
            **dict.fromkeys(RUNS, self.runs),
            "digest": self.digests,
            "task_id": self.tasks,
            "inbox_key": self.inbox,
        }
        return exact.get((table, column.name)) or by_name.get(column.name) or []


async def insert_random_rows(db: asyncpg.Connection, person: Named, chance: random.Random) -> None:
    """Insert a person, and up to three rows of them into every table that names people."""
    await _insert_person(db, person)
    for table in metadata.sorted_tables:
        if table.name in {"subjects", "identities", "runs", "messages"}:
            continue
        if not any(person.names(table.name, column) for column in table.columns):
            continue
        for _ in range(chance.randint(1, 3)):
            row = await _insert(db, table, person, chance)
            if row is not None and table.name == "tasks":
                person.tasks.append(row["id"])
            if row is not None and table.name == "inbox":
                person.inbox.append(row["key"])


async def _insert_person(db: asyncpg.Connection, person: Named) -> None:
    user, visitor = person.keys
    profile = orjson.dumps({"email": person.address, "first_name": "Random"}).decode()
    await db.execute("INSERT INTO subjects (key, kind, profile) VALUES ($1, 'user', $2)", user, profile)
    await db.execute("INSERT INTO subjects (key, kind, merged_into) VALUES ($1, 'user', $2)", visitor, user)
    ids = [("user_id", person.user), ("anonymous_id", f"visitor-{person.mark}")]
    await db.executemany("INSERT INTO identities VALUES ($1, $2, $3)", [(*name, user) for name in ids])
    for key, run in zip(person.keys, person.runs, strict=True):
        await db.execute(
            "INSERT INTO runs (id, journey, definition, subject_key, epoch, lane, entered_seq, started_at)"
            " VALUES ($1, 'random', 'hash', $2, 1, $3, 1, now())", run, key, user,
        )  # fmt: skip
    for number, key in enumerate(person.messages):
        body = [b"Hello \xc3\xa9", b"\xff\xfe", None, b'{"body_text": "Hi"}'][number % 4]
        row = await db.fetchrow(
            "INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,"
            " priority, at, status, decided_at, sent_at, channel, address, body, summary) VALUES ($1, $2, 1, $3, $3, 'random',"
            " 's', 1, 'a', 't', '[]', 'lifecycle', now(), 'sent', now(), now(), 'email', $4, $5, '{\"subject\": \"Hi\"}')"
            " RETURNING id",
            key, person.runs[number // 2], user, person.address, body,
        )  # fmt: skip
        person.numbers.append(row["id"])


async def _insert(
    db: asyncpg.Connection, table: Table, person: Named, chance: random.Random
) -> Mapping[str, Any] | None:
    allowed = dict(_enums(table))
    values = {
        column.name: _value(table.name, column, person, chance, allowed)
        for column in table.columns
        if column.identity is None and _is_needed(table.name, column, person)
    }
    names = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join(f"${n}" for n in range(1, len(values) + 1))
    row: Mapping[str, Any] | None = await db.fetchrow(
        f'INSERT INTO "{table.name}" ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING RETURNING *', *values.values()
    )
    return row


def _is_needed(table: str, column: Column[Any], person: Named) -> bool:
    if person.names(table, column) or column.name == "granted":
        return True
    return not column.nullable and column.server_default is None


def _enums(table: Table) -> Iterator[tuple[str, list[str]]]:
    """The values that check constraints allow, by column."""
    for constraint in (*table.constraints, *(one for column in table.columns for one in column.constraints)):
        if isinstance(constraint, CheckConstraint):
            for name, values in _ENUM.findall(str(constraint.sqltext)):
                yield name, re.findall(r"'(\w+)'", values)


def _value(
    table: str, column: Column[Any], person: Named, chance: random.Random, allowed: Mapping[str, list[str]]
) -> Any:
    naming = [] if (table, column.name) == ("inbox", "key") else person.names(table, column)
    if naming:
        value = chance.choice(naming)
        return orjson.dumps(value).decode() if isinstance(column.type, JSONB) else value
    if column.name in allowed:
        return chance.choice(allowed[column.name])
    return _random_value(f"{table}.{column.name}", column.type, chance)


def _random_value(name: str, kind: Any, chance: random.Random) -> Any:
    match kind:
        case Boolean():
            return True
        case DateTime():
            return datetime.now(UTC) - timedelta(seconds=chance.randrange(10**6))
        case JSONB():
            return orjson.dumps({"n": chance.randrange(10**6), "text": "ü"}).decode()
        case ARRAY():
            return ["a"]
        case LargeBinary():
            return chance.randbytes(8)
        case Uuid():
            return uuid.uuid4()
        case BigInteger() | Integer():
            return chance.randrange(10**6)
        case Text():
            return f"text-{chance.getrandbits(48):x}"
        case other:
            raise AssertionError(f"{name}: no random value of {other}")


async def rows_of(db: asyncpg.Connection, person: Named) -> dict[str, list[Mapping[str, Any]]]:
    """By table, every row that names the person in any of its columns."""
    return {
        table.name: [row for row in await db.fetch(f'SELECT * FROM "{table.name}"') if _is_of(table, row, person)]
        for table in metadata.sorted_tables
    }


def _is_of(table: Table, row: Mapping[str, Any], person: Named) -> bool:
    for column in table.columns:
        value, names = row[column.name], person.names(table.name, column)
        if isinstance(column.type, JSONB) and names:
            value = orjson.loads(value)
        if names and value in names:
            return True
    return False
