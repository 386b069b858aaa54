"""The composition root: the one place where rooms meet. Everything a worker runs is put together here."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import structlog
import yaml
from temporalio.client import Client
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.worker import PollerBehaviorSimpleMaximum, Worker, WorkerDeploymentConfig

from activities.channels.allow_list import AllowList, withheld_outside_production
from activities.channels.in_app import InAppChannel
from activities.content.templates import Templates, load_templates
from activities.dependencies import Dependencies
from activities.ports import Channel
from activities.preview import ContentPreview
from activities.registry import Activities
from journeys.consent.rules import ConsentRules, ConsentRuleSet, read_consent_rules, unconfirmed_topics
from journeys.gate.policy import Policy, load_policy
from journeys.protocol import wire
from journeys.tasks.assignment import Roster
from journeys.tasks.team import read_team
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from worker.composition.mail import click_links, is_sink, mail
from worker.composition.providers import (
    ProviderSettings,
    configured_providers,
    guarded_channels,
    load_providers,
    read_rates,
)
from worker.sandbox import sandbox
from worker.settings import Settings, SettingsError
from workflows.journey import JourneyWorkflow
from workflows.outreach import OutreachWorkflow

log = structlog.get_logger()


def configured_channels(
    settings: Settings, given: ProviderSettings | None = None, templates: Templates | None = None
) -> Mapping[str, Channel]:
    """Every way to reach a person that is configured, each with its guard: what the catalogue says, or these `templates`."""
    given = given or load_providers()
    templates = load_templates(settings.catalog / "templates") if templates is None else templates
    mails = mail(settings, templates, given)
    usual: dict[str, Channel] = {"email": mails, "in_app": InAppChannel(templates)}
    made = guarded_channels(
        usual | configured_providers(settings, given, templates, click_links(settings)),
        read_rates(given.provider_rates),
    )
    sinks = ("email",) if is_sink(settings, mails) else ()
    return withheld_outside_production(made, environment=settings.environment, allowed=settings.allowed, sinks=sinks)


def content_preview(settings: Settings, given: ProviderSettings | None = None) -> ContentPreview:
    """What those who write content ask of. A test goes out as every mail does; without any way for mails there is none."""
    given = given or load_providers()
    # What is tried out comes rendered, so whether a catalogue can be read is nothing to the mailer.
    mailer = partial(mail, settings, Templates({}), given) if settings.smtp_url or given.resend_key else None
    return ContentPreview(
        templates=partial(load_templates, settings.catalog / "templates"),
        mailer=mailer,
        allowed=AllowList(settings.allowed),
        anyone=mailer is not None and is_sink(settings, mailer()),
        postal=settings.postal_address,
        links=click_links(settings),
    )


def policy(catalog: Path) -> Policy:
    """The policy as the catalogue has it."""
    return load_policy(yaml.safe_load((catalog / "policy.yaml").read_text()))


def consent_book(settings: Settings) -> ConsentRuleSet:
    """How consent is taken, as the catalogue has it; a catalogue without the file asks for nothing special.

    Raises SettingsError naming every fault of the file.
    """
    path, allowed = settings.catalog / "consent.yaml", policy(settings.catalog)
    if not path.exists():
        return ConsentRuleSet(allowed, ConsentRules(), settings.links, settings.addresses)
    rules, source = read_consent_rules(path.read_bytes())
    if rules is None:
        raise SettingsError("\n".join(f"{path}:{problem}" for problem in source.problems))
    for each in unconfirmed_topics(allowed, rules):
        log.warning("consent.nothing_waits", file=path.name, why=each)
    return ConsentRuleSet(allowed, rules, settings.links, settings.addresses)


def roster(catalog: Path) -> Roster:
    """Who does the tasks, as the catalogue has it; nobody without a `team.yaml`. Raises SettingsError with every problem."""
    path = catalog / "team.yaml"
    if not path.exists():
        return Roster()
    team, source = read_team(path.read_bytes())
    if team is None:
        raise SettingsError("\n".join(f"{path}:{problem}" for problem in source.problems))
    return Roster(team)


def dependencies(
    settings: Settings,
    database: Database,
    *,
    clock: Literal["wall", "workflow"] = "wall",
    providers: ProviderSettings | None = None,
) -> Dependencies:
    """What activities are given."""
    rules = policy(settings.catalog)
    people = roster(settings.catalog)
    catalogue = DefinitionRegistry(rules.urgent_ticket, consent_book(settings), people)
    return Dependencies(database, catalogue, rules, configured_channels(settings, providers), clock, people)


def channel_workers(client: Client, settings: Settings, given: Dependencies) -> list[Worker]:
    """One more worker for each channel with a queue of its own: what goes by a channel too slow for a step runs there.

    All are polled, whatever is quick now: a run keeps the queues it has begun with.
    """
    return [
        Worker(
            client,
            task_queue=wire.channel_queue(settings.task_queue, name),
            activities=[Activities(given).apply_step, Activities(given).settle_due],
            activity_task_poller_behavior=PollerBehaviorSimpleMaximum(2),
            graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        )
        for name, channel in given.channels.items()
        if not channel.inside
    ]


def deployment(settings: Settings) -> WorkerDeploymentConfig | None:
    """With a deployment and a build id, a run stays on the build that began it and moves to a new one at continue-as-new.

    Without them runs are unversioned: whoever polls next goes on, and code changes are patched.
    """
    if settings.worker_deployment is None or settings.build_id is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(settings.worker_deployment, settings.build_id),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


LEAST_CACHED = 2
"""A run is cached while its local step is in flight: with no cache it would be evicted, and its step begun anew, for ever."""


def worker(client: Client, settings: Settings, given: Dependencies, **options: Any) -> Worker:
    """A worker for every workflow and activity."""
    cached = max(LEAST_CACHED, settings.max_cached_workflows)
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[JourneyWorkflow, OutreachWorkflow],
        activities=Activities(given).all(),
        workflow_runner=sandbox(),
        deployment_config=deployment(settings),
        max_cached_workflows=cached,
        max_concurrent_workflow_tasks=min(100, cached),
        graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        **options,
    )
