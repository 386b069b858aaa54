"""Groups of a test clock: accounts with members, people of one mailbox.

Groups do not affect each other, so they are settled side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from sqlalchemy import bindparam, select, union

from journeys.consent.statements import ADDRESS_FIELDS
from journeys.tokens.address_hash import canonical_address
from store.database import Connection, fetch_all, sql
from store.schema import members, subjects

Group = tuple[str, ...]
"""The keys of its people and accounts, in order."""

_on_clock = subjects.c.clock == bindparam("clock")
_LINKS = sql(
    union(
        select(subjects.c.key, subjects.c.account_key.label("other")).where(_on_clock),
        select(subjects.c.key, subjects.c.merged_into).where(_on_clock, subjects.c.merged_into.is_not(None)),
        select(members.c.person_key, members.c.account_key)
        .join_from(members, subjects, subjects.c.key == members.c.person_key)
        .where(_on_clock),
    )
)


_MAILBOXES = sql(
    select(
        subjects.c.key, *(subjects.c.profile[field].astext.label(channel) for channel, field in ADDRESS_FIELDS.items())
    )
    .where(_on_clock, subjects.c.kind == "user", subjects.c.merged_into.is_(None))
    .order_by(subjects.c.key)
)


async def read_groups(connection: Connection, clock: str) -> Mapping[str, Group]:
    """By key, the group of every person and account on a clock."""
    rows = await fetch_all(connection, _LINKS, clock=clock)
    people = await fetch_all(connection, _MAILBOXES, clock=clock)
    return connected([*((row["key"], row["other"]) for row in rows), *_links_of(people)])


def _links_of(people: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """A link from each person to the first one with the same mailbox."""
    first: dict[tuple[str, str], str] = {}
    for person in people:
        for channel in ADDRESS_FIELDS:
            if address := canonical_address(channel, person[channel] or ""):
                yield person["key"], first.setdefault((channel, address), person["key"])


def connected(links: Iterable[tuple[str, str | None]]) -> dict[str, Group]:
    """By key, all keys that links connect it with, itself included; a link to None names a key alone."""
    root: dict[str, str] = {}

    def top(key: str) -> str:
        root.setdefault(key, key)
        while root[key] != key:
            root[key] = root[root[key]]
            key = root[key]
        return key

    for key, other in links:
        root[top(key)] = top(other if other is not None else key)
    keys: dict[str, list[str]] = {}
    for key in sorted(root):
        keys.setdefault(top(key), []).append(key)
    groups = {name: tuple(found) for name, found in keys.items()}
    return {key: groups[top(key)] for key in root}
