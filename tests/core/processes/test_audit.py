"""The audit of locked packages: what it finds, how old its advisories are, and when it could not audit."""

from __future__ import annotations

import importlib.util
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
assert SPEC is not None
assert SPEC.loader is not None
audit = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

NOW = datetime(2026, 11, 30, tzinfo=UTC)
PACKAGES = {"jinja2": "3.1.5", "ruamel-yaml": "0.18.0"}


def advisory(name="Jinja2", *, events=None, versions=(), **more):
    ranges = [{"type": "ECOSYSTEM", "events": events}] if events else []
    affected = {"package": {"ecosystem": "PyPI", "name": name}, "ranges": ranges, "versions": list(versions)}
    return {"id": "GHSA-cpwx-vrp4-4pq7", "summary": "Sandbox breakout", "affected": [affected], **more}


def found(*advisories):
    return list(audit.vulnerabilities(PACKAGES, advisories))


SENTENCE = "jinja2 3.1.5: GHSA-cpwx-vrp4-4pq7 Sandbox breakout"


@pytest.mark.parametrize(
    ("events", "is_affected"),
    [
        ([{"introduced": "0"}, {"fixed": "3.1.6"}], True),
        ([{"introduced": "0"}, {"fixed": "3.1.5"}], False),
        ([{"introduced": "3.1.6"}], False),
        ([{"introduced": "0"}, {"last_affected": "3.1.5"}], True),
        ([{"introduced": "0"}, {"last_affected": "3.1.4"}], False),
        ([{"introduced": "0"}, {"fixed": "2"}, {"introduced": "3"}, {"fixed": "3.10"}], True),
        ([{"fixed": "3.1.10"}, {"introduced": "0"}], True),
    ],
)
def test_a_range_of_versions_is_evaluated_as_its_schema_says(events, is_affected):
    assert found(advisory(events=events)) == ([SENTENCE] if is_affected else [])


def test_listed_versions_and_other_spellings_of_a_name_count():
    assert found(advisory(versions=["3.1.5", "not a version"])) == [SENTENCE]
    assert found(advisory("ruamel.yaml", versions=["0.18"])) == [
        "ruamel-yaml 0.18.0: GHSA-cpwx-vrp4-4pq7 Sandbox breakout"
    ]


def test_withdrawn_advisories_and_those_of_other_packages_and_ecosystems_do_not_count():
    npm = advisory(versions=["3.1.5"])
    npm["affected"][0]["package"]["ecosystem"] = "npm"
    assert (
        found(npm, advisory(versions=["3.1.5"], withdrawn="2026-01-01T00:00:00Z"), advisory("x", versions=["1"])) == []
    )


def stored(tmp_path, age: timedelta, *advisories):
    snapshot = tmp_path / "advisories.json"
    snapshot.write_text(json.dumps({"taken_at": (NOW - age).isoformat(), "advisories": advisories}))
    return snapshot


def test_without_advisories_it_says_that_it_could_not_audit(tmp_path):
    code, (line,) = audit.audit(PACKAGES, tmp_path / "advisories.json", NOW)
    assert code == 3
    assert line.startswith("NOT AUDITED: there is no advisories.json")


def test_old_advisories_are_no_audit_and_say_their_age(tmp_path):
    code, (line,) = audit.audit(PACKAGES, stored(tmp_path, timedelta(days=31)), NOW)
    assert (code, line) == (
        3,
        "NOT AUDITED: 2 packages, 0 advisories that are 31 days old, at most 30 days are allowed",
    )


def test_new_advisories_say_their_age_too(tmp_path):
    code, lines = audit.audit(PACKAGES, stored(tmp_path, timedelta(days=3)), NOW)
    assert (code, lines) == (0, ["no known vulnerability: 2 packages, 0 advisories that are 3 days old"])


def test_a_vulnerability_is_found_by_old_advisories_too(tmp_path):
    code, lines = audit.audit(PACKAGES, stored(tmp_path, timedelta(days=90), advisory(versions=["3.1.5"])), NOW)
    assert code == 1
    assert lines[0] == SENTENCE


def test_every_package_of_the_lock_is_audited():
    packages = audit.locked(ROOT / "uv.lock")
    assert len(packages) > 100
    assert {"fastapi", "temporalio", "pytest"} <= set(packages)
