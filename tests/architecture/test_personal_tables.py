"""Export of a person: every table is covered, or has a reason why it has no rows of people."""

from __future__ import annotations

from sqlalchemy import Table

from store.reads.personal_tables import IMPERSONAL, PERSONAL
from store.schema import metadata

NAMES_OF_PEOPLE = {
    "digest", "inbox_key", "lane", "message", "person_key", "recipient", "run", "subject_key", "task_id",
}  # fmt: skip
"""Columns that name a person, or what is theirs."""
OTHER_DIGESTS = {"api_keys", "message_ids"}


def test_every_table_is_exported_or_has_a_reason():
    covered = [*(part.table.name for part in PERSONAL), *(table.name for table in IMPERSONAL)]
    assert sorted(covered) == sorted(metadata.tables), "a new table needs a row in store/reads/personal_tables.py"
    assert all(IMPERSONAL.values())


def references(table: Table) -> set[str]:
    """Columns of a table that name a person."""
    return {column.name for column in table.columns} & NAMES_OF_PEOPLE


def test_a_table_with_a_column_that_names_a_person_is_exported():
    # An API key and a message id have digests too.
    of_people = {table.name: references(table) for table in IMPERSONAL if table.name not in OTHER_DIGESTS}
    assert {name: columns for name, columns in of_people.items() if columns} == {}
    assert len([part for part in PERSONAL if references(part.table)]) > 25, "the names are those of the schema"
