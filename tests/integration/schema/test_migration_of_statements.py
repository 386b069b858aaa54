"""Migration 0024 finds the author of each statement of consent; what a merge refused stays the person's own."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg

from journeys.consent.changes import ConsentChange
from journeys.consent.preferences import ChannelTopic
from store.database import Database, plain_url
from store.definitions.registry import DefinitionRegistry
from store.events.changes import change_consents
from tests.support.databases import migrate_to

_BEFORE = """
    INSERT INTO subjects (key, kind) VALUES ('u_1', 'user');
    INSERT INTO consents (subject_key, channel, topic, granted, source, at) VALUES
      ('u_1', 'email', 'by-link', false, 'page', '2026-01-01'), ('u_1', 'email', 'by-server', false, 'crm', '2026-01-02'),
      ('u_1', 'email', 'merged', false, 'merge', '2026-01-03'), ('u_1', 'email', 'merged-grant', true, 'merge', '2026-01-04');
    INSERT INTO consent_log (subject_key, channel, topic, granted, source, at, proof) VALUES
      ('u_1', 'email', 'by-link', false, 'page', '2026-01-01', '{"by": "signed-link"}'),
      ('u_1', 'email', 'by-server', false, 'crm', '2026-01-02', '{}'), ('u_1', 'email', 'merged', false, 'merge', '2026-01-03', '{}'),
      ('u_1', 'email', 'merged-grant', true, 'merge', '2026-01-04', '{}');
"""


async def test_a_grant_of_the_company_does_not_undo_what_a_merge_refused_before_the_migration(
    empty_database_url: str,
) -> None:
    await migrate_to(empty_database_url, "0023")
    connection = await asyncpg.connect(plain_url(empty_database_url))
    await connection.execute(_BEFORE)
    await migrate_to(empty_database_url, "head")
    stated = dict(await connection.fetch('SELECT topic, "by" FROM consents'))
    assert stated == {"by-link": "person", "by-server": "company", "merged": "person", "merged-grant": "company"}
    assert dict(await connection.fetch('SELECT topic, "by" FROM consent_log')) == stated
    await connection.close()
    database, catalogue = Database(empty_database_url), DefinitionRegistry()
    grants = [ConsentChange("email", topic, granted=True, source="crm", at=datetime.now(UTC)) for topic in stated]
    result = await change_consents(database, catalogue, catalogue.consent.policy, "u_1", grants)
    refused: set[ChannelTopic] = {place for place, granted in result.consents.items() if not granted}
    assert refused == {("email", "by-link"), ("email", "merged")}
    await database.close()
