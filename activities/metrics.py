"""Prometheus metrics of decisions, verdicts and attempts, and the classes of providers.

Verdicts are counted before the commit: a transaction that is retried counts them again. No label has data of a person.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from prometheus_client import Counter, Gauge

from activities.ports import Channel, Receipt

NONE: Final = "none"
"""The label of a message for which no channel was chosen."""
DECISIONS = Counter("tenure_decisions_total", "Steps of runs that were applied, by journey", ["journey"])
VERDICTS = Counter(
    "tenure_verdicts_total",
    "Verdicts of the gate by channel, verdict and decisive reason",
    ["channel", "verdict", "reason"],
)
ATTEMPTS = Counter("tenure_attempts_total", "Attempts at providers by channel and result", ["channel", "result"])
OUTAGES = Counter("tenure_provider_outages_total", "Attempts that failed because the provider did", ["channel"])
BREAKER_OPEN = Gauge("tenure_breaker_open", "1 while a channel's circuit breaker is open in this process", ["channel"])
PROVIDER_CLASS = Gauge(
    "tenure_provider_class", "1 for the class of a channel's provider: A, B or C", ["channel", "provider_class"]
)


def count_decision(run: str) -> None:
    """Count an applied step of a run; the journey's key is the second part of its id."""
    kind, _, rest = run.partition("/")
    DECISIONS.labels(rest.partition("/")[0] if kind == "journey" and rest else "other").inc()


def count_verdict(channel: str | None, verdict: str, reasons: tuple[str, ...]) -> None:
    """Count one verdict. The first reason is the decisive one."""
    VERDICTS.labels(channel or NONE, verdict, reasons[0] if reasons else NONE).inc()


def count_attempt(channel: str, receipt: Receipt) -> None:
    """Count the result of one attempt."""
    ATTEMPTS.labels(channel, receipt.result.value).inc()
    if receipt.outage:
        OUTAGES.labels(channel).inc()


def show_classes(channels: Mapping[str, Channel]) -> None:
    """Publish the class of each configured channel's provider."""
    for name, channel in channels.items():
        PROVIDER_CLASS.labels(name, channel.promise.value).set(1)
