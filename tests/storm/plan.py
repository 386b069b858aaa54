"""The plan of a storm: events, faults, and a journey that sends one message for each event."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

ENTERED: Final = "storm_entered"
PINGED: Final = "storm_pinged"
SUBJECT: Final = "Ping "
"""Start of a mail's subject, before the token of its event: mails are matched with events by the subject alone."""

STOP: Final = "stop-"
"""Start of the name of a fault that stops a part with SIGSTOP and resumes it later. The others are SIGKILL of a part."""
FAULTS: Final[Mapping[str, int]] = {
    "worker": 8,
    "worker-b": 7,
    "api": 6,
    "temporal": 10,
    "mail": 5,
    "postgres": 2,
    **{STOP + part: 1 for part in ("api", "temporal", "postgres")},
    **{STOP + part: 2 for part in ("worker", "worker-b")},
}
"""Weights of the faults. A worker is stopped for longer than its lease, while the other takes over."""


@dataclass(frozen=True, slots=True)
class Storm:
    """One storm. The same seed gives the same clients, faults and pauses; their timing depends on the machine."""

    seed: int
    events: int = 1_000
    users: int = 100
    faults: int = 45
    seconds: float = 30.0
    drain_seconds: float = 60.0
    weights: Mapping[str, int] = field(default_factory=lambda: FAULTS)
    stopped_for: tuple[float, float] = (3.0, 12.0)
    fail_rate: float = 0.03
    drop_rate: float = 0.03
    delay_ms: int = 20
    worker: str = "worker"
    """Module of the workers; a control has one of `tests.storm`."""
    timed: bool = False
    """Whether runs have timers too."""
    ahead: float = 0.0
    """Seconds by which the clocks of API and worker are ahead; the second worker is behind by as much."""

    @property
    def journey(self) -> str:
        return TIMED if self.timed else JOURNEY

    @property
    def mail_options(self) -> list[str]:
        """Faults of the mail sink: 451 before it accepts a mail, a dropped connection after."""
        rates = {"--fail-rate": self.fail_rate, "--close-after-accept-rate": self.drop_rate}
        values = {**rates, "--delay-ms": self.delay_ms, "--seed": self.seed}
        return [str(part) for pair in values.items() for part in pair]


JOURNEY = f"""
journey: storm
title: One message for each ping
subject: user
entry: {{on: {ENTERED}, again: never}}
topic: storm
start: open
states:
  open:
    milestone: storm_over
    owner: storm
    on:
      {PINGED}: {{do: [{{send: storm/ping, via: [email], data: {{token: event.token}}}}]}}
      storm_over: over
  over: {{final: finished}}
"""
TIMED: Final = JOURNEY.replace(
    "    milestone:", "    every: {PT3S: {do: {set: {beats: 'journey.beats + 1'}}}}\n    milestone:"
).replace("start: open", "variables: {beats: int}\nstart: open")
"""The same, with a timer every three seconds in each run."""
_TEMPLATE = f"""---
owner: storm
topic: storm
stage: onboarding
review_date: 2099-12-31
status: live
channels: [email]
subject: "{SUBJECT}{{{{ token }}}}"
variables: {{token: {{type: string}}}}
action: {{label: Look, url: "https://app.example.com/"}}
---
One ping, one message.
"""
_PLAN: dict[str, Any] = {
    "sources": {"storm": "The storm"},
    "profile": {"email": {"type": "string", "source": "storm"}},
    "signals": {
        ENTERED: {"source": "storm"},
        PINGED: {"source": "storm", "properties": {"token": "string"}},
        "storm_over": {"source": "storm"},
    },
}
TYPES: Final = {"profile.email": "string", f"event.{PINGED}.token": "string"}


def write_catalog(folder: Path, journey: str = JOURNEY) -> Path:
    """Write a catalogue of this journey alone, whose policy allows everything: only faults can lose a message."""
    for name in ("templates/storm", "journeys"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "journeys" / "storm.yaml").write_text(journey)
    (folder / "templates" / "storm" / "ping.md").write_text(_TEMPLATE)
    (folder / "tracking-plan.yaml").write_text(yaml.safe_dump(_PLAN))
    (folder / "policy.yaml").write_text("consent: [{default: granted}]\n")
    (folder / "consent.yaml").unlink(missing_ok=True)  # it belongs to the shipped policy
    return folder
