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
    """Made by the composition root and passed to activities by constructor.

    With `clock="workflow"`, for servers that skip time, the current instant is the workflow's own.
    """

    database: Database
    catalogue: DefinitionRegistry
    policy: Policy
    channels: Mapping[str, Channel]
    clock: Literal["wall", "workflow"] = "wall"
    roster: Roster = field(default_factory=Roster)

    def now(self, clock: TestClock | None, workflow_now: str) -> datetime:
        """The current instant for the gate: by the test clock of the people concerned, if they have one."""
        if self.clock == "workflow":
            return parse_instant(workflow_now)
        real = datetime.now(UTC)
        return real if clock is None else clock.virtual(real)

    async def test_clock(self, connection: Connection, name: str | None) -> TestClock | None:
        """A subject's test clock with its current limit; None without a name."""
        return await read_clock(connection, name) if name is not None else None
