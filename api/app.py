"""Assembly of the API application from the parts that the composition root provides."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from temporalio.converter import PayloadCodec

from api.access.endpoints import KeyRoutes
from api.clients.endpoints import ClientRoutes
from api.consent.double_opt_in import DoubleOptInRoutes
from api.consent.endpoints import ConsentRoutes
from api.consent.preference_page import PreferenceRoutes
from api.consent.suppressions import SuppressionRoutes
from api.consent.unsubscribe import UnsubscribeRoutes
from api.content.endpoints import TemplateDesk, TemplateRoutes
from api.definitions.catalogue import CatalogueRoutes
from api.definitions.endpoints import CheckerInputs, JourneyRoutes
from api.events.intake import Intake
from api.events.permissions import EventPermissions
from api.events.plays import PlayRoutes
from api.events.quarantine import QuarantineRoutes
from api.events.quotas import QuotaKeeper
from api.events.reader import Reader
from api.events.screening import EventScreening
from api.events.segment import SegmentRoutes
from api.events.signals import SignalRoutes
from api.events.tracking_plan import EventCheck
from api.explain.question import DryRun
from api.explain.traces import TraceRoutes
from api.explain.why import WhyRoutes
from api.explain.whynot import WhyNotRoutes
from api.exports.feed import FeedRoutes, FeedSigner
from api.http.asgi import AsgiApp
from api.http.auth import BootstrapKeys, KeyRegistry
from api.http.clients.client_route import ClientRoute
from api.http.clients.origins import ANY, BrowserOrigins
from api.http.limits import Limits
from api.http.metrics import Metrics
from api.http.openapi import Description
from api.http.problems import refuse
from api.http.routes import Routes
from api.inbound.mails import MailRoutes
from api.inbound.signatures import WebhookSecrets
from api.inbound.webhooks import WebhookRoutes
from api.inbox.browser import BrowserRoutes
from api.inbox.clicks import ClickRoutes
from api.inbox.endpoints import InboxRoutes
from api.operations.codec import CodecRoutes
from api.operations.health import HealthRoutes
from api.operations.kill_switches import KillSwitchRoutes
from api.operations.listener import operations_app
from api.operations.messages import MessageRoutes
from api.operations.parked import ParkedRoutes
from api.operations.sender_refusals import SenderRefusalRoutes
from api.people.endpoints import PeopleRoutes
from api.people.export import ExportRoutes
from api.runs.endpoints import RunRoutes
from api.runs.temporal import RunCommands
from api.runs.test_clocks import TestClockRoutes
from api.start_page.endpoints import StartPageRoutes
from api.tasks.assignment import AssignmentRoutes
from api.tasks.conversations import ConversationRoutes
from api.tasks.endpoints import TaskRoutes
from api.tasks.holds import HoldRoutes
from journeys.checks.catalogue import CatalogueCheck
from journeys.consent.rules import ConsentRuleSet
from journeys.content.template_info import TemplateInfos
from journeys.events.profile_bounds import ProfileBounds
from journeys.events.tracking_plan import TrackingPlan
from journeys.gate.policy import Policy
from journeys.tasks.assignment import Roster
from journeys.tokens.reply_addresses import ReplyAddresses
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.process_clock import keep_measured, measure_clock

Lifespan = Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class Parts:
    """Dependencies of the API. It closes none of them but the database's connections, when it ends."""

    database: Database
    engine: RunCommands
    codec: PayloadCodec
    keys: BootstrapKeys
    plan: TrackingPlan
    policy: Policy
    consent: ConsentRuleSet
    templates: Callable[[], TemplateInfos]
    desk: TemplateDesk
    dry_run: DryRun
    check_catalogue: CatalogueCheck
    limits: Limits = field(default_factory=Limits)
    roster: Roster = field(default_factory=Roster)
    webhook_secrets: WebhookSecrets = field(default_factory=WebhookSecrets)
    codec_origins: Sequence[str] = ()
    browser_origins: Sequence[str] = (ANY,)
    public_url: str | None = None
    sign_feed: FeedSigner | None = None
    replies: ReplyAddresses | None = None
    in_production: bool = False
    links: Sequence[tuple[str, str]] = ()
    """Links of the start page: name and address."""
    address_fields: tuple[str, ...] = ()
    """Fields of people that settings name as addresses."""

    @property
    def bounds(self) -> ProfileBounds:
        """The bounds of profiles by the tracking plan and the limits."""
        return ProfileBounds.of(self.plan, self.limits.profile_bytes, self.address_fields)


@dataclass(frozen=True, slots=True)
class ProcessState:
    """State of the process that outlives a version of the catalogue: counts, keys, quotas, accepted events."""

    metrics: Metrics
    keys: KeyRegistry
    quotas: QuotaKeeper
    intake: Intake
    mails: MailRoutes

    @staticmethod
    def of(parts: Parts) -> ProcessState:
        """The state of a process that begins."""
        metrics = Metrics()
        intake = Intake(parts.database, registry_of(parts), parts.limits, metrics)
        quotas = QuotaKeeper(parts.database, parts.limits.quotas, parts.consent.addresses)
        keys = KeyRegistry(parts.database, parts.keys, in_production=parts.in_production)
        return ProcessState(metrics, keys, quotas, intake, MailRoutes(intake, quotas, parts.replies))


def registry_of(parts: Parts) -> DefinitionRegistry:
    """The registry of definitions over the catalogue of these parts."""
    owner_of = _owner_lookup(parts.templates)
    return DefinitionRegistry(parts.policy.urgent_ticket, parts.consent, parts.roster, owner_of, parts.bounds)


def build_app(parts: Parts, state: ProcessState | None = None) -> AsgiApp:
    """The ASGI application over these parts. With a `state` it replaces another one of the process."""
    if state is None:
        state = ProcessState.of(parts)
    else:
        state.intake.catalogue = registry_of(parts)
    metrics, keys, quotas, intake, mails = state.metrics, state.keys, state.quotas, state.intake, state.mails
    catalogue = intake.catalogue
    check = EventCheck(parts.plan, parts.consent.rules, catalogue.unusable_cases)
    links = parts.consent.links
    permissions = EventPermissions(parts.plan, parts.consent.rules, links.keys, in_production=parts.in_production)
    reader, screening = Reader(parts.limits, check, permissions, metrics), EventScreening(intake, permissions, quotas)
    routes = Routes(keys, parts.limits)
    # Routes are tried in this order: the most frequent come first.
    origins = BrowserOrigins(parts.browser_origins)
    SegmentRoutes(intake, reader, screening, parts.limits, origins).routes(routes)
    ClientRoutes(keys, ClientRoute(origins), parts.public_url).routes(routes)
    RunRoutes(parts.database, parts.engine).routes(routes)
    signals = SignalRoutes(intake, check, permissions, screening)
    signals.routes(routes)
    _people_routes(routes, parts, catalogue)
    TaskRoutes(parts.database, parts.roster, metrics).routes(routes)
    AssignmentRoutes(parts.database, parts.roster, metrics).routes(routes)
    HoldRoutes(parts.database).routes(routes)
    PlayRoutes(parts.database, catalogue).routes(routes)
    KillSwitchRoutes(parts.database).routes(routes)
    SenderRefusalRoutes(parts.database).routes(routes)
    WhyRoutes(parts.database).routes(routes)
    WhyNotRoutes(parts.database, catalogue, parts.dry_run, parts.desk).routes(routes)
    MessageRoutes(parts.database).routes(routes)
    inboxes = InboxRoutes(parts.database, catalogue, parts.limits)
    inboxes.routes(routes)
    BrowserRoutes(parts.database, catalogue, inboxes).routes(routes)
    TemplateRoutes(parts.database, parts.desk).routes(routes)
    ClickRoutes(parts.database, catalogue, parts.desk).routes(routes)
    JourneyRoutes(parts.database, CheckerInputs(parts.plan, parts.policy, parts.templates, parts.roster)).routes(routes)
    CatalogueRoutes(parts.database, parts.check_catalogue).routes(routes)
    QuarantineRoutes(parts.database, intake, reader, signals, screening).routes(routes)
    ParkedRoutes(parts.database, catalogue).routes(routes)
    TestClockRoutes(parts.database, len(parts.policy.answered.escalate)).routes(routes)
    WebhookRoutes(intake, permissions, quotas, parts.webhook_secrets, parts.replies).routes(routes)
    mails.routes(routes)
    ConversationRoutes(parts.database, parts.roster).routes(routes)
    TraceRoutes(parts.database).routes(routes)
    FeedRoutes(parts.database, parts.sign_feed).routes(routes)
    KeyRoutes(parts.database, keys, parts.consent.links.keys[0]).routes(routes)
    CodecRoutes(parts.codec, parts.codec_origins).routes(routes)
    health, description = HealthRoutes(parts.database, parts.engine, intake, metrics, keys), Description()
    for part in (health, description, StartPageRoutes(parts.links)):
        part.routes(routes)
    app = _framework(_lifespan(intake, quotas, mails))
    app.router.routes.extend(routes.made)
    return AsgiApp(app, routes.made, metrics, inboxes.end_streams, operations_app(health, description))


def _framework(lifespan: Lifespan) -> FastAPI:
    return FastAPI(
        title="Tenure",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
        exception_handlers={HTTPException: refuse},
    )


def _people_routes(routes: Routes, parts: Parts, catalogue: DefinitionRegistry) -> None:
    """Routes of people, of their consent, and of the pages that their links lead to."""
    seconds = parts.limits.patience_seconds
    PeopleRoutes(parts.database).routes(routes)
    ExportRoutes(parts.database, parts.consent.addresses).routes(routes)
    ConsentRoutes(parts.database, catalogue, parts.policy, seconds).routes(routes)
    UnsubscribeRoutes(parts.database, catalogue, seconds).routes(routes)
    PreferenceRoutes(parts.database, catalogue, seconds).routes(routes)
    DoubleOptInRoutes(parts.database, catalogue).routes(routes)
    SuppressionRoutes(parts.database, parts.consent.addresses, seconds).routes(routes)


def _owner_lookup(templates: Callable[[], TemplateInfos]) -> Callable[[str], str]:
    """Owner of a template by name, read from the catalogue at each call; empty if there is no such template."""

    def owner_of(name: str) -> str:
        template = templates().get(name)
        return template.owner if template is not None else ""

    return owner_of


def _lifespan(intake: Intake, quotas: QuotaKeeper, mails: MailRoutes) -> Lifespan:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with contextlib.suppress(Exception):  # during an outage the requests themselves fail
            await measure_clock(intake.database)
        measuring = keep_measured(intake.database, asyncio.Event())
        loops = [asyncio.create_task(loop) for loop in (intake.watch(), quotas.prune(), measuring)]
        try:
            yield
        finally:
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            mails.close()
            await intake.database.close()

    return lifespan
