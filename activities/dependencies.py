"""Dependencies of every activity: store, definitions, policy, channels, clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from activities.ports import Channel
from journeys.calendar.test_clock import TestClock
from journeys.gate.policy import Policy
from journeys.protocol.envelope import parse_instant
from journeys.tasks.assignment import Roster
from store.database import Connection, Database
from store.definitions.registry import DefinitionRegistry
from store.people.test_clocks import read_clock


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Made once by the composition root; passed to activities by constructor, so that tests give real parts of their own.

    `clock` is `wall` in production. `workflow` believes the workflow's own now, for a server that skips time.
    """

    database: Database
    catalogue: DefinitionRegistry
    policy: Policy
    channels: Mapping[str, Channel]
    clock: Literal["wall", "workflow"] = "wall"
    roster: Roster = field(default_factory=Roster)

    def now(self, clock: TestClock | None, workflow_now: str) -> datetime:
        """The gate's now: the clock of the people concerned, never an occurrence's `at`."""
        if self.clock == "workflow":
            return parse_instant(workflow_now)
        real = datetime.now(UTC)
        return real if clock is None else clock.virtual(real)

    async def test_clock(self, connection: Connection, name: str | None) -> TestClock | None:
        """The test clock of a subject, with its limit as of now."""
        return await read_clock(connection, name) if name is not None else None
