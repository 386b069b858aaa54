"""Policy, consent rules, team and tracking plan, read from the catalogue's files."""

from __future__ import annotations

from pathlib import Path

import structlog
import yaml

from journeys.consent.rules import ConsentRules, ConsentRuleSet, confirmations_without_effect, read_consent_rules
from journeys.events.tracking_plan import TrackingPlan, read_plan
from journeys.gate.policy import Policy, load_policy
from journeys.language.problems import Problem
from journeys.tasks.assignment import Roster
from journeys.tasks.team import read_team
from worker.settings import Settings, SettingsError

log = structlog.get_logger()


def policy(catalog: Path) -> Policy:
    """The policy in `policy.yaml`."""
    return load_policy(yaml.safe_load((catalog / "policy.yaml").read_text()))


def consent_rules(settings: Settings) -> ConsentRuleSet:
    """The rules in `consent.yaml`; the defaults where there is no such file. Raises SettingsError with every problem."""
    path, allowed = settings.catalog / "consent.yaml", policy(settings.catalog)
    if not path.exists():
        return ConsentRuleSet(allowed, ConsentRules(), settings.links, settings.addresses)
    rules, source = read_consent_rules(path.read_bytes())
    if rules is None:
        raise _unreadable(path, source.problems)
    for reason in confirmations_without_effect(allowed, rules):
        log.warning("consent.nothing_waits", file=path.name, why=reason)
    return ConsentRuleSet(allowed, rules, settings.links, settings.addresses)


def roster(catalog: Path) -> Roster:
    """The team in `team.yaml`; an empty one where there is no such file. Raises SettingsError with every problem."""
    path = catalog / "team.yaml"
    if not path.exists():
        return Roster()
    team, source = read_team(path.read_bytes())
    if team is None:
        raise _unreadable(path, source.problems)
    return Roster(team)


def tracking_plan(catalog: Path) -> TrackingPlan:
    """The plan in `tracking-plan.yaml`. Raises SettingsError with every problem."""
    path = catalog / "tracking-plan.yaml"
    plan, source = read_plan(path.read_bytes())
    if plan is None:
        raise _unreadable(path, source.problems)
    return plan


def _unreadable(path: Path, problems: list[Problem]) -> SettingsError:
    return SettingsError("\n".join(f"{path}:{problem}" for problem in problems))
