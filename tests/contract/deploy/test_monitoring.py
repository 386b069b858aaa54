"""The dashboard and the alert rules name only metrics that processes publish, with labels that they have."""

from __future__ import annotations

import json
import pkgutil
import re
from importlib import import_module

import pytest
import yaml
from prometheus_client import REGISTRY

import activities.metrics
import worker.loops
from api.http.metrics import Metrics
from tests.support.api import application
from worker.settings import ROOT

DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text())["groups"][0]["rules"]
EXPRESSIONS = {
    **{f"alert {rule['alert']}": rule["expr"] for rule in RULES},
    **{
        f"panel {panel['title']} {n}": t["expr"]
        for panel in DASHBOARD["panels"]
        for n, t in enumerate(panel["targets"])
    },
}
_NAME = re.compile(r"\btenure_\w+")
_SELECTED = re.compile(r"\b(tenure_\w+)\{([^}]*)\}")
_GROUPED = re.compile(r"by \(([^)]*)\)")


def published() -> dict[str, frozenset[str]]:
    """Labels by the name of each series that worker or API publish."""
    for module in pkgutil.walk_packages(worker.loops.__path__, "worker.loops."):
        import_module(module.name)
    for name in (
        "worker.relay.relay",
        "worker.operations.operation_metrics",
        "worker.health",
        "worker.clock_driver.drive",
    ):
        import_module(name)
    names = dict[str, frozenset[str]]()
    for registry in (REGISTRY, Metrics().registry):
        for collector, series in registry._collector_to_names.items():
            labels = frozenset(getattr(collector, "_labelnames", ()))
            names |= {name: labels | ({"le"} if name.endswith("_bucket") else set()) for name in series}
    return names


PUBLISHED = published()


@pytest.mark.parametrize("place", sorted(EXPRESSIONS))
def test_every_metric_of_an_expression_is_published_with_its_labels(place):
    expression = EXPRESSIONS[place]
    names = set(_NAME.findall(expression)) - {"tenure_worker", "tenure_api"}
    assert names or "up{" in expression
    assert sorted(names - set(PUBLISHED)) == []
    known = set[str]().union(*(PUBLISHED[name] for name in names))
    grouped = {label.strip() for labels in _GROUPED.findall(expression) for label in labels.split(",")}
    assert grouped <= known
    for name, selectors in _SELECTED.findall(expression):
        assert {selector.partition("=")[0].rstrip("!~") for selector in selectors.split(",")} <= PUBLISHED[name]


def test_every_alert_says_how_bad_it_is_and_what_to_do():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]


def test_the_dashboard_has_every_question_of_operation():
    shown = set(_NAME.findall(" ".join(EXPRESSIONS.values())))
    for name in (
        "tenure_verdicts_total", "tenure_attempts_total", "tenure_runs_open", "tenure_decisions_total", "tenure_messages",
        "tenure_outbox_oldest_seconds", "tenure_message_due_oldest_seconds", "tenure_provider_class",
    ):  # fmt: skip
        assert name in shown
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)


def test_a_decision_and_a_verdict_are_counted_by_journey_channel_and_reason():
    activities.metrics.count_decision("journey/renewal/u_1/-/1")
    activities.metrics.count_verdict(None, "withheld", ("no_consent", "cap"))
    assert REGISTRY.get_sample_value("tenure_decisions_total", {"journey": "renewal"}) >= 1
    labels = {"channel": "none", "verdict": "withheld", "reason": "no_consent"}
    assert REGISTRY.get_sample_value("tenure_verdicts_total", labels) >= 1


def test_no_series_of_the_api_has_a_label_with_data_of_a_person():
    assert application("postgresql://nowhere/none")
    assert {label for labels in PUBLISHED.values() for label in labels} <= {
        "channel", "verdict", "reason", "result", "journey", "state", "status", "route", "method", "team", "what", "mirror",
        "kind", "code", "provider_class", "field", "task", "until", "le", "quantile", "generation", "implementation",
        "major", "minor", "patchlevel", "version",
    }  # fmt: skip
