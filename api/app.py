"""The application: its parts are put together here from what the composition root gives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from fastapi import FastAPI
from starlette.exceptions import HTTPException

from api.answers import Answers
from api.assignments import Assignments
from api.browsers import Browsers
from api.calls import Reader
from api.clicks import Clicks
from api.clocks import Clocks
from api.confirming import Confirming
from api.consents import Consents
from api.content import Contents, Desk
from api.feed import Feed, Sign
from api.front import Front
from api.health import Health
from api.held import Held
from api.holds import Holds
from api.hooks import Hooks
from api.inboxes import Inboxes
from api.intake import Intake
from api.keys import Keys
from api.limits import Limits
from api.messages import Messages
from api.metrics import Metrics
from api.openapi import Description
from api.opt_out import OptOut
from api.people import People
from api.planned import checked, consent_checked
from api.plays import Plays
from api.preferences import Preferences
from api.problems import refuse
from api.publishing import House, Journeys
from api.routes import Routes
from api.runs import Runs
from api.segment import Segment
from api.signals import Signals
from api.signatures import HookSecrets
from api.stops import Stops
from api.suppressions import Suppressions
from api.temporal import Engine
from api.traces import Traces
from api.why import Whys
from api.whynot import Asking, WhyNots
from api.work import Work
from journeys.assigning import Roster
from journeys.consent_rules import ConsentBook
from journeys.policy import Policy
from journeys.reply_address import ReplyAddresses
from journeys.templates import TemplateInfos
from journeys.tracking import TrackingPlan
from store.catalogue import Catalogue
from store.database import Database


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
