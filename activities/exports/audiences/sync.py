"""Synchronisation of audiences: removals first, recorded when the tool has confirmed.

A change is recorded once the platform has accepted it, and is sent again until then. Several processes do no harm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import structlog

from activities.channels.allow_list import AllowList
from activities.exports.audiences.ad_platforms import BATCH, AdPlatform
from activities.exports.audiences.membership import AudiencePlan, membership_changes, wanted_hash
from activities.outgoing.circuit_breaker import BreakerRule, CircuitBreaker
from activities.ports import AttemptResult
from journeys.consent.rules import ConsentRuleSet
from store.database import Database
from store.exports import audiences
from store.exports.audiences import AudienceMembership

log = structlog.get_logger()

NEVER = datetime(1970, 1, 1, tzinfo=UTC)
"""Before every event: a person last sent then counts as changed."""


@dataclass(frozen=True, slots=True)
class SyncResult:
    """Counts of one round. `more`: a full batch was sent, so another may wait."""

    added: int = 0
    removed: int = 0
    failed: int = 0
    more: bool = False

    def __add__(self, other: SyncResult) -> SyncResult:
        """Sum of two results."""
        counts = (self.added + other.added, self.removed + other.removed, self.failed + other.failed)
        return SyncResult(*counts, more=self.more or other.more)


class AudienceSync:
    """All audiences on all platforms, each platform behind its own circuit breaker."""

    def __init__(
        self,
        database: Database,
        platforms: Sequence[AdPlatform],
        plans: Mapping[str, AudiencePlan],
        rules: ConsentRuleSet | None = None,
        allowed: AllowList | None = None,
    ) -> None:
        """With `allowed`, as outside production, only these addresses are sent; None allows all."""
        self._database, self._platforms, self._plans = database, platforms, plans
        self._rules, self._allowed = rules or ConsentRuleSet(), allowed
        self._breakers = {platform.name: CircuitBreaker(BreakerRule(failures=3)) for platform in platforms}

    async def round(self) -> SyncResult:
        """One batch for each platform and audience. Raises only the database's errors."""
        result = SyncResult()
        for platform in self._platforms:
            for name, plan in self._plans.items():
                identity = plan.identity(platform.name)
                if identity is not None and self._breakers[platform.name].wait(datetime.now(UTC)) is None:
                    result += await self._sync(platform, name, identity, plan)
        if result.added or result.removed or result.failed:
            log.info("audiences.told", added=result.added, removed=result.removed, failed=result.failed)
        return result

    async def _sync(self, platform: AdPlatform, name: str, identity: str, plan: AudiencePlan) -> SyncResult:
        async with self._database.reading() as connection:
            pending = await audiences.pending_memberships(connection, self._rules.addresses, platform.name, name, BATCH)
            memberships = {subject: self._allowed_only(membership) for subject, membership in pending.items()}
            leaving, added = membership_changes(memberships, plan, platform.name, self._rules.policy)
            shared = await audiences.members_still_in(connection, platform.name, name, leaving) if leaving else set()
        removed = sorted(
            {digest for digest in leaving.values() if digest not in shared and digest not in added.values()}
        )
        if removed and not await self._send(platform, identity, removed, add=False):
            return SyncResult(failed=len(removed))
        if added and not await self._send(platform, identity, sorted(set(added.values())), add=True):
            return SyncResult(removed=len(removed), failed=len(added))
        if memberships:
            await self._record(platform, name, memberships, plan)
        else:
            self._breakers[platform.name].released()
        return SyncResult(len(added), len(removed), more=len(memberships) == BATCH)

    def _allowed_only(self, membership: AudienceMembership) -> AudienceMembership:
        if self._allowed is None or self._allowed.allows(membership.email or ""):
            return membership
        return replace(membership, member=False)

    async def _send(self, platform: AdPlatform, identity: str, hashes: Sequence[str], *, add: bool) -> bool:
        receipt = await platform.change(identity, hashes, add=add)
        if receipt.outage:
            self._breakers[platform.name].failed(datetime.now(UTC))
        else:
            self._breakers[platform.name].succeeded()
        if receipt.result is not AttemptResult.SENT:
            log.warning("audiences.not_told", tool=platform.name, detail=receipt.detail[:80])
        return receipt.result is AttemptResult.SENT

    async def _record(
        self, platform: AdPlatform, name: str, memberships: Mapping[str, AudienceMembership], plan: AudiencePlan
    ) -> None:
        """Record what was sent, as of the instant of the read, so that later changes are pending again.

        A person whose new address may not be added during a kill switch is pending once it is released.
        """
        policy = self._rules.policy
        hashes = {
            subject: wanted_hash(membership, plan, platform.name, policy) for subject, membership in memberships.items()
        }
        digests = {subject: membership.digests for subject, membership in memberships.items()}
        at = min(membership.at for membership in memberships.values())
        later = {
            key: ""
            for key, wanted in hashes.items()
            if memberships[key].stopped and wanted not in {"", memberships[key].hashed}
        }
        synced = {key: wanted for key, wanted in hashes.items() if key not in later}
        async with self._database.transaction() as connection:
            for as_of, sent in ((at, synced), (NEVER, later)):
                if sent:
                    await audiences.record_synced(connection, platform.name, name, sent, digests, as_of)
