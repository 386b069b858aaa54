"""Audit of locked packages against stored advisories, offline.

`python .ci/audit.py` compares, `--refresh` stores new advisories. It works from `.ci/advisories.json` and says how old that is. Exit code 0: no known vulnerability; 1: at least one;
3: it could not audit, because there are no advisories or they are older than `OLDEST`.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOT = ROOT / ".ci" / "advisories.json"
SOURCE = "https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip"
"""All advisories for PyPI in the OSV format (https://ossf.github.io/osv-schema/)."""
OLDEST = timedelta(days=30)
NOTHING_FOUND, FOUND, NOT_AUDITED = 0, 1, 3


def locked(lock: Path) -> dict[str, str]:
    """Version of each package that `uv.lock` takes from a registry."""
    packages = tomllib.loads(lock.read_text("utf-8"))["package"]
    return {canonicalize_name(item["name"]): item["version"] for item in packages if "registry" in item["source"]}


def vulnerabilities(packages: Mapping[str, str], advisories: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each advisory that affects a package in its locked version."""
    for advisory in advisories:
        if "withdrawn" in advisory:
            continue
        for name, affected in _affected(advisory, packages):
            version = packages[name]
            if _is_affected(Version(version), affected):
                yield f"{name} {version}: {advisory['id']} {advisory.get('summary', '')}".rstrip()
                break


def _affected(advisory: Mapping[str, Any], packages: Mapping[str, str]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for affected in advisory.get("affected", ()):
        package = affected.get("package", {})
        name = canonicalize_name(package.get("name", ""))
        if package.get("ecosystem") == "PyPI" and name in packages:
            yield name, affected


def _is_affected(version: Version, affected: Mapping[str, Any]) -> bool:
    """By the listed versions or by a range of the ecosystem (OSV schema: evaluation)."""
    if any(_version(listed) == version for listed in affected.get("versions", ())):
        return True
    ranges = (item["events"] for item in affected.get("ranges", ()) if item.get("type") == "ECOSYSTEM")
    return any(_is_in_range(version, events) for events in ranges)


def _is_in_range(version: Version, events: Iterable[Mapping[str, str]]) -> bool:
    bounds = [(_version(at), kind) for event in events for kind, at in event.items()]
    inside = False
    for bound, kind in sorted(bounds, key=lambda item: item[0] or Version("0")):
        if bound is None:
            continue
        if kind == "introduced" and version >= bound:
            inside = True
        elif (kind == "fixed" and version >= bound) or (kind == "last_affected" and version > bound):
            inside = False
    return inside


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None


def refresh(packages: Mapping[str, str], snapshot: Path) -> None:
    """Store the advisories that name a locked package. Raises httpx.HTTPError."""
    content = httpx.get(SOURCE, timeout=60, follow_redirects=True).raise_for_status().content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        every = (json.loads(archive.read(name)) for name in sorted(archive.namelist()))
        kept = [advisory for advisory in every if any(_affected(advisory, packages))]
    taken = datetime.now(UTC).isoformat(timespec="seconds")
    snapshot.write_text(json.dumps({"taken_at": taken, "source": SOURCE, "advisories": kept}, indent=1) + "\n", "utf-8")


def audit(packages: Mapping[str, str], snapshot: Path, now: datetime) -> tuple[int, list[str]]:
    """The exit code, and the lines to print."""
    if not snapshot.is_file():
        return NOT_AUDITED, [f"NOT AUDITED: there is no {snapshot.name}; `python .ci/audit.py --refresh` stores one"]
    stored = json.loads(snapshot.read_text("utf-8"))
    age = now - datetime.fromisoformat(stored["taken_at"])
    about = f"{len(packages)} packages, {len(stored['advisories'])} advisories that are {age.days} days old"
    found = sorted(vulnerabilities(packages, stored["advisories"]))
    if found:
        return FOUND, [*found, f"{len(found)} known vulnerabilities: {about}"]
    if age > OLDEST:
        return NOT_AUDITED, [f"NOT AUDITED: {about}, at most {OLDEST.days} days are allowed"]
    return NOTHING_FOUND, [f"no known vulnerability: {about}"]


def main() -> int:
    parser = argparse.ArgumentParser(description="Audit the locked packages offline.")
    parser.add_argument("--refresh", action="store_true", help="store new advisories first")
    packages = locked(ROOT / "uv.lock")
    if parser.parse_args().refresh:
        try:
            refresh(packages, SNAPSHOT)
        except httpx.HTTPError as error:
            print(f"{SOURCE} cannot be reached ({type(error).__name__}); the stored advisories stay", file=sys.stderr)
    code, lines = audit(packages, SNAPSHOT, datetime.now(UTC))
    print("\n".join(lines))
    return code


if __name__ == "__main__":
    raise SystemExit(main())
