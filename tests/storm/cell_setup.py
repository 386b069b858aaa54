"""What a process needs to do the work of one cell: every adapter put together, speaking to the providers of the test."""

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
    """What another process must know; as JSON it is handed to it."""

    database: str
    provider: str
    relay: str
    folder: str
    google_key: str
    cells: list[dict[str, Any]] = field(default_factory=list)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    naive: bool = False
    again: bool = False
    """Whether they die while they go on with what others have left, and not in their first work."""

    @classmethod
    def read(cls, path: Path) -> Config:
        return cls(**json.loads(path.read_text()))


class Stand:
    """Every adapter with a house of its own, so that two of one channel stand side by side."""

    def __init__(self, config: Config) -> None:
        self.config, self.database = config, Database(config.database, pool=4)
        self.way = HttpClient(frozenset({config.provider.removeprefix("http://")}))
        self._templates = load_templates(Path(config.folder) / "templates")
        self.policy: Policy = load_policy(PERMISSIVE)
        self.catalogue = DefinitionRegistry()
        made = self._channels(self._templates)
        self.houses = {
            name: Dependencies(
                self.database, self.catalogue, self.policy, guarded_channels({ADAPTERS[name].via: each}, {})
            )
            for name, each in made.items()
        }

    def _channels(self, known: Templates) -> dict[str, Channel]:
        url, near = self.config.provider, Reach(near=True)
        http = channels_at(cast("LocalProvider", _Elsewhere(url)), known, self.way, google=self.config.google_key)
        fcm = PushChannel(known, self.way, near, fcm=cast("PushChannel", http["push"])._fcm)
        web = PushChannel(known, self.way, near, web=WebPush(vapid_key(), "mailto:ops@tenure.example"))
        tail = AppriseSettings(f"json://{url.removeprefix('http://')}/tail/{{address}}", "handle")
        return {
            "smtp_searched": self._mail(known, searched=True),
            "smtp_once": self._mail(known),
            "smtp_least": self._mail(known, Ambiguity.AT_LEAST_ONCE),
            "resend": http["email"],
            "in_app": InAppChannel(known),
            "sms": http["sms"],
            "fcm": fcm,
            "web_push": web,
            "chat": http["chat"],
            "webhook": http["webhook"],
            "ticket": http["support"],
            "comment": http["support"],
            "webinar": http["webinar"],
            "apprise": _quick(AppriseChannel(known, tail)),
        }

    def _mail(
        self, known: Templates, ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE, *, searched: bool = False
    ) -> EmailChannel:
        maildir = Path(self.config.folder) / "mail"
        settings = EmailSettings(relay=SmtpRelay.from_url(self.config.relay), ambiguity=ambiguity)
        search = (lambda reference: find_mails(maildir, reference).count > 0) if searched else None
        return EmailChannel(known, settings, search=search)

    # -- the work of a cell ----------------------------------------------------------------------------------------

    async def work(self, cell: Cell) -> None:
        """What a worker does for it, from the beginning: done again it does what was left undone."""
        match cell.of.kind:
            case "message":
                given = self.config.steps[cell.marker] | {"now": datetime.now(UTC).isoformat()}
                await steps.apply_step(self.houses[cell.adapter], wire.StepInput(**given))
            case "audience":
                plan = AudiencePlan(**{cell.adapter: cell.marker})
                await AudienceSync(self.database, [self._tool(cell.adapter)], {cell.marker: plan}).round()
            case "task":
                mirror = self._crm(cell)
                await CrmSync(self.database, Roster(), [mirror]).sync(mirror)

    async def go_on(self, cell: Cell) -> None:
        """What others do for it when its process has died: the work again, then what is owed until nothing is."""
        await self.work(cell)
        if cell.of.kind == "message":
            (message,) = await self.rows(_LEDGER, run=self.config.steps[cell.marker]["run"])
            assert message["ended"] or message["woken"], "nobody would ever look at this message again"
            await settle(self.houses[cell.adapter], message["recipient"])

    async def rows(self, statement: SqlStatement, **values: Any) -> list[Any]:
        async with self.database.reading() as connection:
            return list(await fetch_all(connection, statement, **values))

    def _tool(self, name: str) -> AdPlatform:
        url = self.config.provider
        if name == "meta":
            return MetaPlatform(self.way, MetaAudiences(KEY, f"{url}/meta/v25.0"))
        google = GoogleAudiences("1", "svc@p.example", self.config.google_key, f"{url}/google", f"{url}/google/token")
        return GooglePlatform(self.way, google)

    def _crm(self, cell: Cell) -> CrmTasks:
        """A CRM of this cell alone: mirrors know themselves by their name, and each pushes every task."""
        base = f"{self.config.provider}/{cell.adapter}/{cell.marker}"

        async def call(method: str, path: str, body: Mapping[str, Any] | None) -> CrmReply:
            reply = await self.way.send(json_call(method, base + path, body, bearer(KEY)))
            return CrmReply(reply.status, json.loads(reply.body) if reply.body else None)

        mirror: CrmTasks = HubSpot(call) if cell.adapter == "hubspot" else Salesforce(call)
        mirror.name = cell.marker  # type: ignore[misc]
        return mirror

    async def close(self) -> None:
        for deps in self.houses.values():
            for channel in deps.channels.values():
                await channel.close()
        await self.way.close()
        await self.database.close()


@dataclass(frozen=True, slots=True)
class _Elsewhere:
    url: str


def _quick(channel: AppriseChannel) -> AppriseChannel:
    """The same with the patience of a near one: a lease of half a minute would be waited for."""
    channel.attempt = timedelta(seconds=1.5)
    return channel
