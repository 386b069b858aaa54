"""The metadata of all tables, the names of their constraints, and shared column types."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Identity, MetaData, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY

metadata = MetaData(
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "fk": "%(table_name)s_%(column_0_name)s_fkey",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    }
)
"""Constraints are named as PostgreSQL names them; indexes have names of their own."""

Timestamp = DateTime(timezone=True)
TextArray = ARRAY(Text)
Trace = Uuid(as_uuid=False)
"""The trace of an event (`journeys/events/tracing.py`)."""


def number(**options: Any) -> Column[int]:
    """A column `id` that numbers rows in the order of insertion, which is not the order of commit."""
    return Column("id", BigInteger, Identity(always=True), nullable=False, **options)
