"""Report of a benchmark run as a table."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import version

from rich.table import Table

from benchmarks.measure import ResultRow
from worker.stack.temporal.build import SERVER_VERSION
from worker.stack.temporal.store import StoreName

_STORES: Mapping[StoreName, str] = {
    "sqlite": "a SQLite file, one shard",
    "postgres": "a PostgreSQL of its own with fsync on, four shards",
}


def result_table(
    rows: list[ResultRow],
    title: str = "Ours against bare Temporal, side by side",
    sides: tuple[str, str] = ("ours", "bare"),
) -> Table:
    """The table of the results, one row each; rows that miss their target are bold."""
    table = Table(title=title, title_justify="left")
    for heading in ("name", "ratio", "low", "high", "target", *sides, "unit"):
        table.add_column(heading, justify="left" if heading in {"name", "unit"} else "right")
    for row in rows:
        reached = row.target is None or row.target.reached(row.ratio)
        bare = "" if row.theirs is None else _figure(row.theirs)
        target = "" if row.target is None else str(row.target)
        cells = (
            row.name,
            _figure(row.ratio),
            _figure(row.low),
            _figure(row.high),
            target,
            _figure(row.ours),
            bare,
            row.unit,
        )
        table.add_row(*cells, style=None if reached else "bold")
    return table


def conditions(store: StoreName) -> str:
    """Versions, cores and load: absolute figures mean nothing without them."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    return (
        f"Python {platform.python_version()}, temporalio {version('temporalio')}, Temporal server {SERVER_VERSION} on "
        f"{_STORES[store]}; our PostgreSQL with fsync on; {os.cpu_count()} cores shared by all, load {load:.1f}"
    )


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
