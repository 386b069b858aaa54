"""Versions of the catalogue: journeys, templates, policy, plan, consent and team, published together."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import ARRAY, LargeBinary, Text, bindparam, func, insert, select, update

from journeys.language.parsing import read_journey
from store.database import Connection, execute, fetch_all, fetch_one, sql
from store.errors import CatalogueBehind
from store.rows import RowDict
from store.schema import catalogue, catalogue_files, catalogue_versions

_versions = (
    catalogue_versions.c.number,
    catalogue_versions.c.hash,
    catalogue_versions.c.published_at,
    catalogue_versions.c.published_by,
)
_CURRENT = sql(
    select(*_versions).join_from(catalogue, catalogue_versions, catalogue_versions.c.number == catalogue.c.version)
)
_LIST = sql(
    select(*_versions)
    .where(catalogue_versions.c.number < bindparam("before"))
    .order_by(catalogue_versions.c.number.desc())
    .limit(bindparam("limit"))
)
_FILES = sql(
    select(catalogue_files.c.path, catalogue_files.c.content)
    .where(catalogue_files.c.version == bindparam("number"))
    .order_by(catalogue_files.c.path)
)
_ADD = sql(
    insert(catalogue_versions)
    .from_select(
        ["number", "hash", "published_by"],
        select(func.coalesce(func.max(catalogue_versions.c.number), 0) + 1, bindparam("hash"), bindparam("by")),
    )
    .returning(*_versions)
)
_ADD_FILES = sql(
    insert(catalogue_files).from_select(
        ["version", "path", "content"],
        select(
            bindparam("number"),
            func.unnest(bindparam("paths", type_=ARRAY(Text))),
            func.unnest(bindparam("contents", type_=ARRAY(LargeBinary))),
        ),
    )
)
_POINT = sql(update(catalogue).values(version=bindparam("number"), edition=catalogue.c.edition + 1))


class CatalogueVersion(NamedTuple):
    """A published version, without its files."""

    number: int
    hash: str
    published_at: datetime
    published_by: str


def files_hash(files: Mapping[str, bytes]) -> str:
    """SHA-256 over the paths and contents of files by path, as hex digits."""
    total = sha256()
    for path, content in sorted(files.items()):
        total.update(sha256(path.encode()).digest() + sha256(content).digest())
    return total.hexdigest()


async def current_version(connection: Connection) -> CatalogueVersion | None:
    """The version that processes use; None where none is published."""
    row = await fetch_one(connection, _CURRENT)
    return CatalogueVersion(**row) if row else None


async def files_of(connection: Connection, number: int) -> dict[str, bytes]:
    """The files of a version, by path; empty if there is no such version."""
    return {row["path"]: bytes(row["content"]) for row in await fetch_all(connection, _FILES, number=number)}


async def list_catalogue_versions(connection: Connection, before: int, limit: int) -> list[RowDict]:
    """Versions whose number is below `before`, the newest first."""
    return [dict(row) for row in await fetch_all(connection, _LIST, before=before, limit=limit)]


async def add_version(connection: Connection, files: Mapping[str, bytes], by: str) -> tuple[CatalogueVersion, bool]:
    """Make these files the current version, under `Lock.CATALOGUE`; the version, and whether it is new.

    The same files as the current version's keep it.
    """
    content, current = files_hash(files), await current_version(connection)
    if current is not None and current.hash == content:
        return current, False
    row = await fetch_one(connection, _ADD, hash=content, by=by)
    assert row is not None
    added = CatalogueVersion(**row)
    await execute(connection, _ADD_FILES, number=added.number, paths=list(files), contents=list(files.values()))
    await execute(connection, _POINT, number=added.number)
    return added, True


async def keep_journey(connection: Connection, key: str, text: bytes, by: str) -> None:
    """Add a version with this journey, if a catalogue is published. The caller has `Lock.CATALOGUE`."""
    current = await current_version(connection)
    if current is None:
        return
    files = await files_of(connection, current.number)
    paths = [path for path in files if path.startswith("journeys/") and _key_in(files[path]) == key]
    await add_version(connection, {**files, (paths or [f"journeys/{key}.yaml"])[0]: text}, by)


def _key_in(text: bytes) -> str | None:
    journey = read_journey(text)[0]
    return journey.journey if journey is not None else None


async def refuse_if_behind(connection: Connection, used: int | None) -> None:
    """Raise CatalogueBehind unless the version `used` by this process is the current one."""
    current = await current_version(connection)
    if current is not None and current.number != used:
        raise CatalogueBehind(f"version {current.number} of the catalogue is not loaded here yet; {used} is")
