"""Parts of the API: its dependencies, and the state that outlives a version."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from temporalio.converter import PayloadCodec

from api.content.endpoints import TemplateDesk
from api.events.intake import Intake
from api.events.quotas import QuotaKeeper
from api.explain.question import DryRun
from api.exports.feed import FeedSigner
from api.http.auth import BootstrapKeys, KeyRegistry
from api.http.clients.origins import ANY
from api.http.limits import Limits
from api.http.metrics import Metrics
from api.inbound.mails import MailRoutes
from api.inbound.signatures import WebhookSecrets
from api.runs.temporal import RunCommands
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


def _owner_lookup(templates: Callable[[], TemplateInfos]) -> Callable[[str], str]:
    """Owner of a template by name, read from the catalogue at each call; empty if there is no such template."""

    def owner_of(name: str) -> str:
        template = templates().get(name)
        return template.owner if template is not None else ""

    return owner_of
