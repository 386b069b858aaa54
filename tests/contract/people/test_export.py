"""Export of a person: what the tables hold, for whom, as JSON and as a page."""

from __future__ import annotations

import random
from base64 import b64encode
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy.dialects.postgresql import JSONB
from structlog.testing import capture_logs

from journeys.access.user_hash import USER_HASH
from store.reads.personal_tables import PERSONAL
from store.schema import metadata
from tests.support.api import CATALOG
from tests.support.random_rows import Named, insert_random_rows, rows_of
from worker.composition.catalog import consent_rules
from worker.settings import Settings

PEOPLE = 4


def as_exported(table: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the database as JSON has it."""
    columns = metadata.tables[table].columns
    values = {
        name: orjson.loads(value) if isinstance(columns[name].type, JSONB) and value is not None else _plain(value)
        for name, value in row.items()
    }
    return {name: values[name] for name in sorted(values)}


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                return b64encode(value).decode()
        case UUID():
            return str(value)
        case datetime():
            return orjson.loads(orjson.dumps(value, option=orjson.OPT_UTC_Z))
        case _:
            return value


def ordered(rows: Any) -> list[str]:
    return sorted(orjson.dumps(row, option=orjson.OPT_SORT_KEYS).decode() for row in rows)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_an_export_has_exactly_the_rows_that_the_tables_hold_of_a_random_person(api, db, seed):
    chance, hashes = random.Random(seed), consent_rules(Settings(catalog=CATALOG)).addresses
    people = [Named(number, hashes) for number in range(PEOPLE)]
    for person in people:
        await insert_random_rows(db, person, chance)
    for person in people:
        exported = (await api.get(f"/v1/users/{person.user}/export")).json()
        held = await rows_of(db, person)
        assert {name for name, rows in held.items() if rows} == {part.table.name for part in PERSONAL}, (
            "nothing is empty"
        )
        for name, rows in exported["tables"].items():
            assert ordered(rows) == ordered(as_exported(name, row) for row in held[name]), name
        others = [other.mark for other in people if other is not person]
        assert not [mark for mark in others if mark in orjson.dumps(exported).decode()]
        assert set(exported["without"]) == set(metadata.tables) - set(exported["tables"])


async def test_the_sent_messages_are_readable_in_both_forms(api, db):
    person = Named(0, consent_rules(Settings(catalog=CATALOG)).addresses)
    await insert_random_rows(db, person, random.Random(9))
    mail = "Subject: Hi\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nDear <b>Ada</b>, welcome.\r\n"
    await db.execute("UPDATE messages SET body = $1 WHERE key = $2", mail.encode(), person.messages[0])
    exported = await api.get(f"/v1/users/{person.user}/export")
    assert exported.headers["cache-control"] == "no-store"
    assert exported.headers["content-disposition"] == f'attachment; filename="{person.keys[0]}.json"'
    sent = exported.json()["sent"]
    assert len(sent) == len(person.messages)
    assert sent[0]["text"] == "Dear <b>Ada</b>, welcome."
    assert (sent[3]["text"], sent[3]["subject"], sent[3]["address"]) == ("Hi", "Hi", person.address)
    path = f"/v1/users/{person.user}/export"
    pages = [
        await api.get(path, params={"format": "html"}),
        await api.get(path, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}),
    ]
    for page in pages:
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "Dear &lt;b&gt;Ada&lt;/b&gt;, welcome." in page.text
        assert person.address in page.text
        for part in PERSONAL:
            assert f"<summary>{part.table.name} (" in page.text


async def test_an_export_includes_what_a_visitor_did_before_they_were_known_and_what_is_quarantined(api, sender):
    visitor, user = {"anonymousId": "export-device"}, {"userId": "export-user"}
    await sender.post("/v1/identify", json={**user, "traits": {"plan": "team"}, "messageId": "e0"})
    await sender.post("/v1/identify", json={**visitor, "traits": {"first_name": "Visitorina"}, "messageId": "e1"})
    await sender.post("/v1/track", json={**visitor, "event": "no_such_event", USER_HASH: "f" * 64, "messageId": "e2"})
    await sender.post("/v1/identify", json={**user, **visitor, "traits": {"email": "e@example.com"}, "messageId": "e3"})
    with capture_logs() as lines:
        exported = (await api.get("/v1/users/export-user/export")).json()
    tables = exported["tables"]
    assert [row["message_id"] for row in tables["events"]] == ["e0", "e1", "e3"]
    assert [row["message_id"] for row in tables["quarantine"]] == ["e2"]
    assert "f" * 64 not in str(tables), "whoever reads the hash of a user id could act for the user"
    assert len(tables["subjects"]) == 2
    (line,) = [line for line in lines if line["event"] == "person.exported"]
    assert (line["by"], line["person"]) == ("operator", exported["key"])
    assert line["rows"] == sum(len(rows) for rows in tables.values())


async def test_nobody_is_exported_who_is_not_known(api):
    assert (await api.get("/v1/users/nobody-at-all/export")).status_code == 404
