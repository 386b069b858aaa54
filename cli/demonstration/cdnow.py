"""CDNOW orders: 69,659 purchases of 23,570 customers, downloaded once and verified.

The file ships in the PyPI wheel `lifetimes` 0.11.3 (data of Fader and Hardie). pip downloads the wheel, which is unzipped and
never imported. `TENURE_CDNOW` names a copy of the file for machines without a registry.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from bisect import insort
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from journeys.simulation.backtest import Stream
from journeys.simulation.recording import RecordedEvent

WHEEL: Final = "lifetimes==0.11.3"
MEMBER: Final = "lifetimes/datasets/CDNOW_master.txt"
SHA256: Final = "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef"
OBSERVED_UNTIL: Final = datetime(1998, 6, 30, 23, 59, 59, tzinfo=UTC)


class CdnowUnavailable(RuntimeError):
    """The file is missing or damaged. The message says what to do."""


class Order(NamedTuple):
    """One purchase; `at` is midnight UTC of its day."""

    customer: str
    at: datetime
    quantity: int
    dollars: float


def cdnow_file() -> Path:
    """Path of the file, which is downloaded if needed. Raises CdnowUnavailable."""
    configured = os.environ.get("TENURE_CDNOW")
    path = Path(configured) if configured else _cache() / "CDNOW_master.txt"
    if not path.exists():
        if configured:
            raise CdnowUnavailable(f"TENURE_CDNOW names {configured}, which does not exist")
        _download(path)
    if hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise CdnowUnavailable(f"{path} does not have the expected checksum; delete it and try again")
    return path


def read_orders(path: Path) -> Iterator[Order]:
    """Every order, by customer and then by day, as in the file."""
    days: dict[str, datetime] = {}
    with path.open(encoding="ascii") as lines:
        next(lines)  # column names
        for line in lines:
            customer, day, quantity, dollars = line.split()
            at = days.get(day)
            if at is None:
                at = days[day] = datetime.strptime(day, "%Y%m%d").replace(tzinfo=UTC)
            yield Order(customer, at, int(quantity), float(dollars))


def cdnow_streams(path: Path) -> list[Stream]:
    """Each customer's events: before each order, an identify call with what is known by then."""
    grouped = groupby(read_orders(path), key=lambda order: order.customer)
    return [(customer, tuple(_events(customer, tuple(orders)))) for customer, orders in grouped]


def _events(customer: str, orders: Sequence[Order]) -> Iterator[RecordedEvent]:
    spent = 0.0
    gaps: list[int] = []
    last = None
    for number, order in enumerate(orders, 1):
        spent += order.dollars
        if last is not None and order.at > last:
            insort(gaps, (order.at - last).days)
        last = order.at
        traits: dict[str, object] = {"lifetime_value": round(spent, 2)}
        if number == 1:
            traits["email"] = f"customer-{customer}@example.com"
        if gaps:
            traits["rhythm_days"] = _median(gaps)
        yield RecordedEvent(order.at, customer, "profile", "identify", traits)
        bought = {"order_id": f"{customer}-{number}", "total": order.dollars, "quantity": order.quantity}
        yield RecordedEvent(order.at, customer, "signal", "order_completed", bought)


def _median(ordered: Sequence[int]) -> float:
    middle = len(ordered) // 2
    return float(ordered[middle]) if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "tenure"


def _download(path: Path) -> None:
    """Download with the first pip that works: this environment's, its base interpreter's, or ensurepip's bundled one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        faults = []
        for pip in _pips():
            command = [*pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", folder, WHEEL]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            if result.returncode == 0:
                _unzip(next(Path(folder).glob("*.whl")), path)
                return
            faults.append((result.stderr.strip().splitlines() or ["no message"])[-1])
    raise CdnowUnavailable(
        f"could not download {WHEEL} ({'; '.join(dict.fromkeys(faults))}). Set TENURE_CDNOW to a copy of {MEMBER}."
    )


def _pips() -> Iterator[list[str]]:
    base = getattr(sys, "_base_executable", None)
    for python in dict.fromkeys((sys.executable, base)):
        if python:
            yield [python, "-m", "pip", "--disable-pip-version-check"]
    carried = find_spec("ensurepip")
    if carried is not None and carried.origin:
        for wheel in sorted((Path(carried.origin).parent / "_bundled").glob("pip-*.whl")):
            yield [sys.executable, str(wheel / "pip"), "--disable-pip-version-check"]


def _unzip(wheel: Path, path: Path) -> None:
    """Write the file atomically: another process may be reading it."""
    with zipfile.ZipFile(wheel) as archive:
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(archive.read(MEMBER))
    partial.replace(path)
