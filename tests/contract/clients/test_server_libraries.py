"""Analytics libraries of servers, unchanged, against the API behind a socket: everything that they send is stored.

Each starts an interpreter of its own; the first run installs them (`tests/support/client_libraries.py`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.api import WRITE, application, served
from tests.support.client_libraries import node_libraries, python_libraries

SEGMENT_NODE = """
const { Analytics } = require('@segment/analytics-node')
const analytics = new Analytics({ writeKey: process.env.KEY, host: process.env.URL, flushAt: 3 })
analytics.on('error', error => { console.error(error); process.exitCode = 1 })
const userId = process.env.WHO
analytics.identify({ userId, traits: { email: `${userId}@example.com`, plan: 'team' } })
analytics.group({ userId, groupId: `${userId}-acme`, traits: { name: 'Acme', plan: 'team' } })
analytics.track({ userId, event: 'Setup Completed', properties: { steps: 5 } })
analytics.page({ userId, name: 'Pricing', properties: { path: '/pricing' } })
analytics.screen({ userId, name: 'Home' })
analytics.alias({ userId, previousId: `${userId}-visitor` })
analytics.closeAndFlush({ timeout: 20000 })
"""
RUDDERSTACK_NODE = """
const Analytics = require('@rudderstack/rudder-sdk-node')
const Client = Analytics.default || Analytics
const options = { dataPlaneUrl: process.env.URL, flushAt: 3, flushInterval: 200, logLevel: 'error' }
const analytics = new Client(process.env.KEY, options)
const userId = process.env.WHO
const calls = [
  ['identify', { traits: { email: `${userId}@example.com`, plan: 'team' } }],
  ['group', { groupId: `${userId}-acme`, traits: { name: 'Acme', plan: 'team' } }],
  ['track', { event: 'Setup Completed', properties: { steps: 5 } }],
  ['page', { name: 'Pricing', properties: { path: '/pricing' } }],
  ['screen', { name: 'Home' }],
  ['alias', { previousId: `${userId}-visitor` }],
]
const sent = calls.map(([name, call]) => new Promise((resolve, reject) =>
  analytics[name]({ userId, ...call }, error => error ? reject(error) : resolve())))
Promise.all(sent).then(() => process.exit(0), error => { console.error(error); process.exit(1) })
"""
SEGMENT_PYTHON = """
import os
from segment.analytics import Client
failed = []
client = Client(os.environ["KEY"], host=os.environ["URL"], gzip=True, on_error=lambda error, _: failed.append(error))
who = os.environ["WHO"]
client.identify(who, {"email": f"{who}@example.com", "plan": "team"})
client.group(who, f"{who}-acme", {"name": "Acme", "plan": "team"})
client.track(who, "Setup Completed", {"steps": 5})
client.page(who, "", "Pricing", {"path": "/pricing"})
client.screen(who, "", "Home", {})
client.alias(f"{who}-visitor", who)
client.flush()
client.shutdown()
raise SystemExit(repr(failed) if failed else 0)
"""
KINDS = ["alias", "group", "identify", "page", "screen", "track"]


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with served(application(module_database_url)) as address:
        yield address


def run(command: list[str], script: str, url: str, who: str, **environ: str) -> None:
    environment = {**os.environ, "URL": url, "KEY": WRITE, "WHO": who, **environ}
    ended = subprocess.run(
        command, input=script, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr + ended.stdout


async def taken(db, who: str) -> tuple[list[str], list[str], dict[str, Any]]:
    """Kinds and signals of the person's events, and how many are quarantined."""
    key = await db.fetchval("SELECT subject_key FROM identities WHERE kind = 'user_id' AND value = $1", who)
    rows = await db.fetch("SELECT kind, name FROM events WHERE subject_key = $1", key)
    held = await db.fetch("SELECT faults::text FROM quarantine WHERE event::text LIKE '%' || $1 || '%'", who)
    signals = [row["name"] for row in rows if row["kind"] == "track"]
    return sorted(row["kind"] for row in rows), signals, {"held": [row["faults"] for row in held]}


@pytest.mark.parametrize("script", [SEGMENT_NODE, RUDDERSTACK_NODE], ids=["segment", "rudderstack"])
async def test_a_library_for_node_is_taken_unchanged(url, db, script):
    who = f"node-{uuid.uuid4().hex}"
    run(["node", "-"], script, url, who, NODE_PATH=str(node_libraries()))
    assert await taken(db, who) == (KINDS, ["setup_completed"], {"held": []})


async def test_the_library_for_python_is_taken_unchanged(url, db):
    who = f"python-{uuid.uuid4().hex}"
    run([sys.executable, "-"], SEGMENT_PYTHON, url, who, PYTHONPATH=str(python_libraries()))
    assert await taken(db, who) == (KINDS, ["setup_completed"], {"held": []})
