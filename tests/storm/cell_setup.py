"""Run the work of a cell: every adapter, configured for the test's providers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

from activities.channels.apprise import AppriseChannel, AppriseSettings
from activities.channels.email.relay_settings import SmtpRelay
from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.channels.http.channel import Reach, bearer, json_call
from activities.channels.in_app import InAppChannel
from activities.channels.push.channel import PushChannel
from activities.channels.push.web_push import WebPush
from activities.content.templates import Templates, load_templates
from activities.dependencies import Dependencies
from activities.exports.audiences.ad_platforms import (
    AdPlatform,
    GoogleAudiences,
    GooglePlatform,
    MetaAudiences,
    MetaPlatform,
)
from activities.exports.audiences.membership import AudiencePlan
from activities.exports.audiences.sync import AudienceSync
from activities.exports.crm.hubspot import HubSpot
from activities.exports.crm.port import CrmReply, CrmTasks
from activities.exports.crm.salesforce import Salesforce
from activities.outgoing.client import HttpClient
from activities.ports import Ambiguity, Channel
from activities.steps import apply as steps
from journeys.gate.policy import Policy, load_policy
from journeys.protocol import wire
from journeys.tasks.assignment import Roster
from store.database import Database, SqlStatement, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from tests.storm.crash_cells import ADAPTERS, Cell
from tests.support.provider import channels_at, vapid_key
from tests.support.steps import settle
from worker.composition.providers import guarded_channels
from worker.loops.crm_sync import CrmSync
from worker.stack.maildir import find_mails
from worker.stack.providers.environment import KEY
from worker.stack.providers.serving import LocalProvider

_LEDGER = sql(
    """
    SELECT m.recipient, m.status NOT IN ('sending', 'deferred') AS ended,
      EXISTS (SELECT 1 FROM outbox o WHERE o.recipient = m.recipient AND o.kind = 'wake') AS woken
    FROM messages m WHERE m.run = :run
    """
)
PERMISSIVE = {"consent": [{"default": "granted"}]}


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of a child process, passed as JSON."""

    database: str
    provider: str
    relay: str
    folder: str
    google_key: str
    cells: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    naive: bool = False
    again: bool = False
    """True if the processes die while they finish the work of dead ones, false if they die in their first work."""

    @classmethod
    def read(cls, path: Path) -> Config:
        return cls(**json.loads(path.read_text()))


class CellRunner:
    """Every adapter with `Dependencies` of its own, so that one channel may have several adapters."""

    def __init__(self, config: Config) -> None:
        self.config, self.database = config, Database(config.database, pool=4)
        self.http = HttpClient(frozenset({config.provider.removeprefix("http://")}))
        self._templates = load_templates(Path(config.folder) / "templates")
        self.policy: Policy = load_policy(PERMISSIVE)
        self.catalogue = DefinitionRegistry()
        channels = self._channels(self._templates)
        self.dependencies = {
            name: Dependencies(
                self.database, self.catalogue, self.policy, guarded_channels({ADAPTERS[name].via: channel}, {})
            )
            for name, channel in channels.items()
        }

    def _channels(self, templates: Templates) -> dict[str, Channel]:
        url, near = self.config.provider, Reach(near=True)
        channels = channels_at(
            cast("LocalProvider", _RemoteProvider(url)), templates, self.http, google=self.config.google_key
        )
        fcm = PushChannel(templates, self.http, near, fcm=cast("PushChannel", channels["push"])._fcm)
        web = PushChannel(templates, self.http, near, web=WebPush(vapid_key(), "mailto:ops@tenure.example"))
        apprise = AppriseSettings(f"json://{url.removeprefix('http://')}/tail/{{address}}", "handle")
        return {
            "smtp_searched": self._mail(templates, searched=True),
            "smtp_once": self._mail(templates),
            "smtp_least": self._mail(templates, Ambiguity.AT_LEAST_ONCE),
            "resend": channels["email"],
            "in_app": InAppChannel(templates),
            "sms": channels["sms"],
            "fcm": fcm,
            "web_push": web,
            "chat": channels["chat"],
            "webhook": channels["webhook"],
            "ticket": channels["support"],
            "comment": channels["support"],
            "webinar": channels["webinar"],
            "apprise": _with_short_attempts(AppriseChannel(templates, apprise)),
        }

    def _mail(
        self, templates: Templates, ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE, *, searched: bool = False
    ) -> EmailChannel:
        maildir = Path(self.config.folder) / "mail"
        settings = EmailSettings(relay=SmtpRelay.from_url(self.config.relay), ambiguity=ambiguity)
        search = (lambda reference: find_mails(maildir, reference).count > 0) if searched else None
        return EmailChannel(templates, settings, search=search)

    # -- the work of a cell ----------------------------------------------------------------------------------------

    async def work(self, cell: Cell) -> None:
        """Do a worker's work for the cell; a repetition does what is still undone."""
        match cell.target.kind:
            case "message":
                step = self.config.steps[cell.marker] | {"now": datetime.now(UTC).isoformat()}
                await steps.apply_step(self.dependencies[cell.adapter], wire.StepInput(**step))
            case "audience":
                plan = AudiencePlan(**{cell.adapter: cell.marker})
                await AudienceSync(self.database, [self._tool(cell.adapter)], {cell.marker: plan}).round()
            case "task":
                mirror = self._crm(cell)
                await CrmSync(self.database, Roster(), [mirror]).sync(mirror)

    async def finish(self, cell: Cell) -> None:
        """Finish the work of a dead process: repeat it, then settle the person's messages until none is due."""
        await self.work(cell)
        if cell.target.kind == "message":
            (message,) = await self.rows(_LEDGER, run=self.config.steps[cell.marker]["run"])
            assert message["ended"] or message["woken"], "no loop would decide this message again"
            await settle(self.dependencies[cell.adapter], message["recipient"])

    async def rows(self, statement: SqlStatement, **values: Any) -> list[Any]:
        async with self.database.reading() as connection:
            return list(await fetch_all(connection, statement, **values))

    def _tool(self, name: str) -> AdPlatform:
        url = self.config.provider
        if name == "meta":
            return MetaPlatform(self.http, MetaAudiences(KEY, f"{url}/meta/v25.0"))
        google = GoogleAudiences("1", "svc@p.example", self.config.google_key, f"{url}/google", f"{url}/google/token")
        return GooglePlatform(self.http, google)

    def _crm(self, cell: Cell) -> CrmTasks:
        """A CRM of this cell alone, named by its marker, since each mirror pushes every task."""
        base = f"{self.config.provider}/{cell.adapter}/{cell.marker}"

        async def call(method: str, path: str, body: Mapping[str, Any] | None) -> CrmReply:
            reply = await self.http.send(json_call(method, base + path, body, bearer(KEY)))
            return CrmReply(reply.status, json.loads(reply.body) if reply.body else None)

        mirror: CrmTasks = HubSpot(call) if cell.adapter == "hubspot" else Salesforce(call)
        mirror.name = cell.marker  # type: ignore[misc]
        return mirror

    async def close(self) -> None:
        for deps in self.dependencies.values():
            for channel in deps.channels.values():
                await channel.close()
        await self.http.close()
        await self.database.close()


@dataclass(frozen=True, slots=True)
class _RemoteProvider:
    """The part of `LocalProvider` that `channels_at` reads, for a provider in another process."""

    url: str


def _with_short_attempts(channel: AppriseChannel) -> AppriseChannel:
    """Shorten the attempt: the test waits for the lease, which would be half a minute."""
    channel.attempt = timedelta(seconds=1.5)
    return channel
