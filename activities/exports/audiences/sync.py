"""Synchronisation of audiences: removals first, recorded when the tool has confirmed.

A crash between the two says it again, which changes nothing there. One process at a time is enough, several do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from activities.channels.allow_list import AllowList
from activities.exports.audiences.ad_platforms import BATCH, AdPlatform
from activities.exports.audiences.membership import AudiencePlan, membership_changes, wanted_members
from activities.outgoing.circuit_breaker import BreakerRule, CircuitBreaker
from activities.ports import AttemptResult
from journeys.consent.rules import ConsentRuleSet
from store.database import Database
from store.exports import audiences
from store.exports.audiences import AudienceMembership

log = structlog.get_logger()

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Before anything happened: of whom the tool was told then, everything has changed since."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """What one round has told. `more`: a batch was full and is done, so the next one may be waiting."""

    added: int = 0
    removed: int = 0
    failed: int = 0
    more: bool = False

    def __add__(self, other: SyncResult) -> SyncResult:
        """Both rounds together."""
        counted = (self.added + other.added, self.removed + other.removed, self.failed + other.failed)
        return SyncResult(*counted, more=self.more or other.more)


class AudienceSync:
    """All audiences to all tools. A tool that is down is left alone by its breaker, and others are not held up."""

    def __init__(
        self,
        database: Database,
        tools: Sequence[AdPlatform],
        plans: Mapping[str, AudiencePlan],
        book: ConsentRuleSet | None = None,
        allowed: AllowList | None = None,
    ) -> None:
        """`allowed`: outside production only these people's addresses are told to anybody; None is everybody's."""
        self._database, self._tools, self._plans = database, tools, plans
        self._book, self._allowed = book or ConsentRuleSet(), allowed
        self._breakers = {tool.name: CircuitBreaker(BreakerRule(failures=3)) for tool in tools}

    async def round(self) -> SyncResult:
        """One batch for each tool and audience. Raises only what the store raises."""
        told = SyncResult()
        for tool in self._tools:
            for name, plan in self._plans.items():
                identity = plan.identity(tool.name)
                if identity is not None and self._breakers[tool.name].wait(datetime.now(UTC)) is None:
                    told += await self._one(tool, name, identity, plan)
        if told.added or told.removed or told.failed:
            log.info("audiences.told", added=told.added, removed=told.removed, failed=told.failed)
        return told

    async def _one(self, tool: AdPlatform, name: str, identity: str, plan: AudiencePlan) -> SyncResult:
        async with self._database.reading() as connection:
            found = await audiences.pending_memberships(connection, self._book.addresses, tool.name, name, BATCH)
            places = {subject: self._shown(place) for subject, place in found.items()}
            out, into = membership_changes(places, plan, tool.name, self._book.policy)
            still = await audiences.members_still_in(connection, tool.name, name, out) if out else set()
        gone = sorted({each for each in out.values() if each not in still and each not in into.values()})
        if gone and not await self._tell(tool, identity, gone, add=False):
            return SyncResult(failed=len(gone))
        if into and not await self._tell(tool, identity, sorted(set(into.values())), add=True):
            return SyncResult(removed=len(gone), failed=len(into))
        if places:
            await self._record(tool, name, places, plan)
        else:
            self._breakers[tool.name].released()
        return SyncResult(len(into), len(gone), more=len(places) == BATCH)

    def _shown(self, place: AudienceMembership) -> AudienceMembership:
        if self._allowed is None or self._allowed.allows(place.email or ""):
            return place
        return replace(place, member=False)

    async def _tell(self, tool: AdPlatform, identity: str, hashes: Sequence[str], *, add: bool) -> bool:
        receipt = await tool.change(identity, hashes, add=add)
        if receipt.outage:
            self._breakers[tool.name].failed(datetime.now(UTC))
        else:
            self._breakers[tool.name].succeeded()
        if receipt.result is not AttemptResult.SENT:
            log.warning("audiences.not_told", tool=tool.name, detail=receipt.detail[:80])
        return receipt.result is AttemptResult.SENT

    async def _record(
        self, tool: AdPlatform, name: str, places: Mapping[str, AudienceMembership], plan: AudiencePlan
    ) -> None:
        """As of the moment at which they were read: what has changed since is pending again.

        Who went out under an old address and may not come in under the new one yet is pending once the stop is released.
        """
        policy = self._book.policy
        hashes = {subject: wanted_members(place, plan, tool.name, policy) for subject, place in places.items()}
        digests = {subject: place.digests for subject, place in places.items()}
        at = min(place.at for place in places.values())
        later = {key: "" for key, now in hashes.items() if places[key].stopped and now not in {"", places[key].hashed}}
        done = {key: now for key, now in hashes.items() if key not in later}
        async with self._database.transaction() as connection:
            for as_of, told in ((at, done), (NEVER, later)):
                if told:
                    await audiences.record_synced(connection, tool.name, name, told, digests, as_of)
