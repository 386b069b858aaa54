"""Dependencies with three relays: one accepts mails, one accepts and disconnects, one answers 451."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from activities.channels.email.relay_settings import SmtpRelay
from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.channels.in_app import InAppChannel
from activities.content.templates import load_templates
from activities.dependencies import Dependencies
from activities.ports import Ambiguity, Retry
from journeys.gate.policy import load_policy
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from tests.integration.gate.test_gate import journey
from tests.support.steps import publish
from worker.settings import ROOT
from worker.stack.mail_sink import MailFaults
from worker.stack.mail_sink import listen_for_mail as mail_server

LIMIT = 1
POLICY = {
    "consent": [{"default": "granted"}],
    "caps": [{"name": "offers-a-day", "topic": "offers", "limit": LIMIT, "window": "P1D"}],
    "cooldowns": [{"name": "breath", "between": "PT1H"}],
    "consolidate": [
        {"name": f"one-{channel}", "channel": channel, "priorities": ["lifecycle", "promotional"], "window": "PT3H"}
        for channel in ("email", "in_app")
    ],
    "expires_after": "P5D",
}
JOURNEYS = ("first", "second")
TOPICS = ("onboarding", "offers")
RELAYS: Mapping[str, MailFaults] = {
    "takes": MailFaults(),
    "hangs up": MailFaults(close_after_accept_rate=1.0),
    "later": MailFaults(fail_rate=1.0),
}
TIP = """---
owner: product-team
topic: onboarding
stage: onboarding
review_date: 2027-03-31
status: live
channels: [email, in_app]
subject: "A tip"
action: {label: Open it, url: "https://app.example.com/tips"}
variables: {number: {type: string}}
---
This is tip-{{ number }}.
"""


async def dependencies_by_relay(
    database_url: str, folder: Path, exit_stack: contextlib.AsyncExitStack
) -> dict[str, Dependencies]:
    """The dependencies by relay, open until `exit_stack` is closed."""
    (folder / "templates" / "digest").mkdir(parents=True)
    shutil.copy(ROOT / "catalog" / "templates" / "digest" / "together.md", folder / "templates" / "digest")
    (folder / "templates" / "tip.md").write_text(TIP)
    known = load_templates(folder / "templates")
    database = Database(database_url)
    exit_stack.push_async_callback(database.close)
    deps = Dependencies(database, DefinitionRegistry(), load_policy(POLICY), {})
    for name in JOURNEYS:
        await publish(database, journey(name))
    by_relay = {}
    for name, faults in RELAYS.items():
        sink = await exit_stack.enter_async_context(
            await mail_server(folder / "mails" / name.replace(" ", "-"), faults=faults)
        )
        relay = SmtpRelay(host="127.0.0.1", port=sink.sockets[0].getsockname()[1])
        retry = Retry(first=timedelta(minutes=10), longest=timedelta(hours=2))
        settings = EmailSettings(relay=relay, ambiguity=Ambiguity.AT_LEAST_ONCE, retry=retry)
        email = EmailChannel(known, settings)
        exit_stack.push_async_callback(email.close)
        by_relay[name] = replace(deps, channels={"email": email, "in_app": InAppChannel(known)})
    return by_relay
