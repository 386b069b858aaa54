"""The application: its parts are put together here from what the composition root gives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from api.consent.double_opt_in import Confirming
from api.consent.endpoints import Consents
from api.consent.preference_page import Preferences
from api.consent.suppressions import Suppressions
from api.consent.unsubscribe import OptOut
from api.content.endpoints import Contents, Desk
from api.definitions.endpoints import House, Journeys
from api.events.intake import Intake
from api.events.plays import Plays
from api.events.quarantine import Held
from api.events.reader import Reader
from api.events.segment import Segment
from api.events.signals import Signals
from api.events.tracking_plan import checked, consent_checked
from api.explain.traces import Traces
from api.explain.why import Whys
from api.explain.whynot import Asking, WhyNots
from api.exports.feed import Feed, Sign
from api.http.asgi import Front
from api.http.auth import Keys
from api.http.limits import Limits
from api.http.metrics import Metrics
from api.http.openapi import Description
from api.http.problems import refuse
from api.http.routes import Routes
from api.inbound.mails import Answers
from api.inbound.signatures import HookSecrets
from api.inbound.webhooks import Hooks
from api.inbox.browser import Browsers
from api.inbox.clicks import Clicks
from api.inbox.endpoints import Inboxes
from api.operations.health import Health
from api.operations.kill_switches import Stops
from api.operations.messages import Messages
from api.people.endpoints import People
from api.runs.endpoints import Runs
from api.runs.temporal import Engine
from api.runs.test_clocks import Clocks
from api.tasks.assignment import Assignments
from api.tasks.endpoints import Work
from api.tasks.holds import Holds
from journeys.consent.rules import ConsentBook
from journeys.content.template_info import TemplateInfos
from journeys.events.tracking_plan import TrackingPlan
from journeys.gate.policy import Policy
from journeys.tasks.assignment import Roster
from journeys.tokens.reply_addresses import ReplyAddresses
from store.database import Database
from store.definitions.registry import Catalogue


@dataclass(frozen=True, slots=True)
class Parts:
    """What the API needs from elsewhere. It closes none of them, but returns the database's connections when it ends."""

    database: Database
    engine: Engine
    keys: Keys
    plan: TrackingPlan
    policy: Policy
    consent: ConsentBook
    templates: Callable[[], TemplateInfos]
    desk: Desk
    asking: Asking
    limits: Limits = field(default_factory=Limits)
    roster: Roster = field(default_factory=Roster)
    hooks: HookSecrets = field(default_factory=HookSecrets)
    sign: Sign | None = None
    replies: ReplyAddresses | None = None


def build(parts: Parts) -> Front:
    """The application over these parts."""
    metrics, check = Metrics(), consent_checked(parts.consent.rules, checked(parts.plan))
    catalogue = Catalogue(parts.policy.urgent_ticket, parts.consent, parts.roster, _owners(parts.templates))
    patience = parts.limits.patience_seconds
    intake = Intake(parts.database, catalogue, parts.limits, metrics)
    reader = Reader(parts.limits, check)
    routes = Routes(parts.keys, seconds=parts.limits.patience_seconds)
    # Routes are tried in this order: what is asked most comes first.
    Segment(intake, reader, parts.limits).routes(routes)
    Runs(parts.database, parts.engine).routes(routes)
    Signals(intake, check).routes(routes)
    People(parts.database).routes(routes)
    Consents(parts.database, catalogue, parts.policy, patience).routes(routes)
    OptOut(parts.database, catalogue, patience).routes(routes)
    Preferences(parts.database, catalogue, patience).routes(routes)
    Confirming(parts.database, catalogue).routes(routes)
    Suppressions(parts.database, parts.consent.addresses, patience).routes(routes)
    Work(parts.database, parts.roster, metrics).routes(routes)
    Assignments(parts.database, parts.roster, metrics).routes(routes)
    Holds(parts.database).routes(routes)
    Plays(parts.database, catalogue).routes(routes)
    Stops(parts.database).routes(routes)
    Whys(parts.database).routes(routes)
    WhyNots(parts.database, catalogue, parts.asking, parts.desk).routes(routes)
    Messages(parts.database).routes(routes)
    inboxes = Inboxes(parts.database, catalogue, parts.limits)
    inboxes.routes(routes)
    Browsers(parts.database, catalogue, inboxes).routes(routes)
    Contents(parts.database, parts.desk).routes(routes)
    Clicks(parts.database, catalogue, parts.desk).routes(routes)
    Journeys(parts.database, House(parts.plan, parts.templates)).routes(routes)
    Held(parts.database, intake, reader, check).routes(routes)
    Clocks(parts.database).routes(routes)
    Hooks(intake, parts.hooks, parts.replies).routes(routes)
    Answers(intake, parts.roster, parts.replies).routes(routes)
    Traces(parts.database).routes(routes)
    Feed(parts.database, parts.sign).routes(routes)
    Health(parts.database, parts.engine, intake, metrics).routes(routes)
    Description().routes(routes)
    app = FastAPI(
        title="Tenure",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=_alive(intake),
        redirect_slashes=False,
        exception_handlers={HTTPException: refuse},
    )
    app.router.routes.extend(routes.made)
    return Front(app, routes.made, metrics, inboxes.leave)


def _owners(templates: Callable[[], TemplateInfos]) -> Callable[[str], str]:
    """Who owns a template, by the catalogue as it is then."""

    def owner_of(name: str) -> str:
        found = templates().get(name)
        return found.owner if found is not None else ""

    return owner_of


def _alive(intake: Intake) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(intake.watch())
        yield
        watch.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watch
        await intake.database.close()

    return lifespan
