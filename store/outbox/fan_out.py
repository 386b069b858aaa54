"""Fan-out: an account's rows are copied to members who do nothing themselves, in slices.

A slice is one transaction over some members, the furthest behind first; those whom somebody else has locked are left for
later. So any number of processes may fan out one account, nothing is remembered between slices, and one that dies goes on
where it was.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import and_, bindparam, exists, extract, func, not_, select, update

from store.database import Connection, Database, execute, fetch_all, fetch_one, sql
from store.outbox import queue
from store.outbox.copies import catch_up, copies_for, pending_rows
from store.people import subjects as people
from store.retry import retry_transaction
from store.runs.lanes import definitions_of_lanes
from store.schema import subjects

MEMBERS: Final = 500
"""Members of one slice."""
ROWS: Final = 10
"""Rows of the account in one slice: with `MEMBERS` the most that one transaction inserts."""

_is_behind = subjects.c.behind_since.is_not(None)
_by_loop = and_(_is_behind, subjects.c.clock.is_(None))
_ACCOUNTS = sql(select(subjects.c.key).where(_by_loop).order_by(subjects.c.behind_since).limit(bindparam("most")))
_OLDEST = sql(
    select(
        extract("epoch", func.clock_timestamp() - func.min(subjects.c.behind_since)).label("seconds"),
        func.count().label("accounts"),
    ).where(_by_loop)
)
_MEMBERS_SEQ = sql(select(subjects.c.members_seq).where(subjects.c.key == bindparam("account")))
_member = subjects.alias("member")
_lacks = (_member.c.account_key == subjects.c.key, _member.c.copied_seq < subjects.c.members_seq)
_NEXT_MEMBER = sql(
    select(_member.c.key)
    .join_from(subjects, _member, _lacks[0] & _lacks[1])
    .where(subjects.c.key == bindparam("account"))
    .limit(1)
)
_CAUGHT_UP = sql(
    update(subjects)
    .where(
        subjects.c.key == bindparam("account"),
        subjects.c.members_seq == bindparam("seq"),
        _is_behind,
        not_(exists().where(*_lacks)),
    )
    .values(behind_since=None)
)
"""Of the seq that was looked at: a new row, committed while this waits for the account, would not be seen by the rest."""


async def accounts_behind(connection: Connection, most: int) -> list[str]:
    """Accounts with rows that some member may lack, the longest behind first; the driver of a test clock copies its own."""
    return [row["key"] for row in await fetch_all(connection, _ACCOUNTS, most=most)]


async def oldest_behind(connection: Connection) -> tuple[float, int]:
    """For how many seconds the oldest account has been behind, and how many are."""
    row = await fetch_one(connection, _OLDEST)
    return (float(row["seconds"] or 0.0), int(row["accounts"])) if row else (0.0, 0)


async def copy_slice(database: Database, account: str) -> int:
    """Copy the next rows to the members who are furthest behind, in one transaction; how many members that were.

    With none left the account is not behind any more, unless somebody else has locked a member who lacks something.
    """
    async with database.transaction() as connection:
        found = await fetch_one(connection, _MEMBERS_SEQ, account=account)
        last = int(found["members_seq"]) if found else 0
        members = await people.lock_members_behind(connection, account, last, MEMBERS)
        if not members:
            await execute(connection, _CAUGHT_UP, account=account, seq=last)
            return 0
        first = min(member.copied_seq for member in members if member.copied_seq is not None)
        rows = (await pending_rows(connection, {account: first}, ROWS))[account]
        if len(rows) == ROWS:
            last = rows[-1].seq
        definitions = await definitions_of_lanes(connection, [member.key for member in members])
        copies = []
        for member in members:
            copies += copies_for(member, rows, last, definitions[member.key])
        await people.save_places(connection, members)
        await queue.enqueue(connection, copies)
    return len(members)


async def fan_out(database: Database, account: str) -> int:
    """Copy all that is pending of one account, in slices, and wait for members whom somebody has locked.

    How many times a member was brought further.
    """
    count = 0
    while True:
        while copied := await copy_slice(database, account):
            count += copied
        async with database.reading() as connection:
            member = await fetch_one(connection, _NEXT_MEMBER, account=account)
        if member is None:
            return count
        key = str(member["key"])

        async def copy(connection: Connection, key: str = key) -> None:
            locked = await people.lock_subjects(connection, [key])
            await catch_up(connection, locked[key])

        await retry_transaction(database, copy)
        count += 1
