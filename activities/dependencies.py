"""Dependencies of every activity: store, definitions, policy, channels, team, templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from activities.content.templates import Templates
from activities.ports import Channel
from journeys.gate.policy import Policy
from journeys.protocol import wire
from journeys.tasks.assignment import Roster
from store.database import Database
from store.definitions.registry import DefinitionRegistry
from store.messages.entries import LedgerEntry


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Made by the composition root for one version of the catalogue."""

    database: Database
    catalogue: DefinitionRegistry
    policy: Policy
    channels: Mapping[str, Channel]
    roster: Roster = field(default_factory=Roster)
    templates: Templates = field(default_factory=lambda: Templates({}))
    version: int | None = None
    """The published version of the catalogue; None for a folder that is not published."""

    def channel_of(self, entry: LedgerEntry) -> Channel | None:
        """The channel of a message; None if it has none, or one that is not configured any more."""
        return self.channels.get(entry.channel or "")

    def clock_of(self, entry: LedgerEntry) -> str | None:
        """The test clock that stands while an attempt at this message is not settled; None for people on none."""
        return entry.clock

    def settle_at(
        self,
        request: wire.SettleInput,  # noqa: ARG002 -- a rehearsal in skipped time counts from its instant
        clock: str | None,
        due: datetime | None,
        lease: datetime | None,
    ) -> datetime | None:
        """The real instant at which a person's outreach settles again.

        On a test clock its driver says when a message is `due`; a `lease` is real time everywhere.
        """
        instants = (lease,) if clock is not None else (due, lease)
        return min((at for at in instants if at is not None), default=None)


class CurrentDependencies:
    """Dependencies by the newest version of the catalogue. An activity uses those of its start until its end."""

    def __init__(self, deps: Dependencies) -> None:
        self.deps = deps
