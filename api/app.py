"""Assembly of the API application from the parts that the composition root provides."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from api.access.endpoints import KeyRoutes
from api.clients.endpoints import ClientRoutes
from api.consent.double_opt_in import DoubleOptInRoutes
from api.consent.endpoints import ConsentRoutes
from api.consent.preference_page import PreferenceRoutes
from api.consent.suppressions import SuppressionRoutes
from api.consent.unsubscribe import UnsubscribeRoutes
from api.content.endpoints import TemplateRoutes
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
from api.explain.traces import TraceRoutes
from api.explain.why import WhyRoutes
from api.explain.whynot import WhyNotRoutes
from api.exports.feed import FeedRoutes
from api.http.asgi import AsgiApp
from api.http.clients.client_route import ClientRoute
from api.http.clients.origins import BrowserOrigins
from api.http.openapi import Description
from api.http.problems import refuse
from api.http.routes import Routes
from api.inbound.mails import MailRoutes
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
from api.parts import Parts, ProcessState, registry_of
from api.people.endpoints import PeopleRoutes
from api.people.export import ExportRoutes
from api.runs.endpoints import RunRoutes
from api.runs.test_clocks import TestClockRoutes
from api.start_page.endpoints import StartPageRoutes
from api.tasks.assignment import AssignmentRoutes
from api.tasks.conversations import ConversationRoutes
from api.tasks.endpoints import TaskRoutes
from api.tasks.holds import HoldRoutes
from store.definitions.registry import DefinitionRegistry
from store.process_clock import keep_measured, measure_clock

Lifespan = Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]


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
