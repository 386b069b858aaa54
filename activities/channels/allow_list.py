"""Allow-list of recipients outside production.

Everybody else's messages are withheld with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any, Final

from activities.ports import (
    Ambiguity,
    AttemptResult,
    Channel,
    Outgoing,
    Prepared,
    Promise,
    Receipt,
    RecipientNotAllowed,
    Retry,
)

WHY: Final = "outside production only the allow-list receives (TENURE_ENVIRONMENT, TENURE_ALLOWED_RECIPIENTS)"


class AllowList:
    """Who may receive: addresses as they are, or patterns such as `*@example.com`. Case does not matter."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(pattern.strip().lower() for pattern in patterns)

    def allows(self, address: str) -> bool:
        return any(fnmatchcase(address.lower(), pattern) for pattern in self._patterns)


class AllowListedChannel:
    """A channel that hands nothing over for those who are not on the list: nothing is rendered, and nothing leaves.

    What was rendered before the list was made shorter is refused too.
    """

    def __init__(self, channel: Channel, allowed: AllowList) -> None:
        self._channel, self._allowed = channel, allowed
        self.name: str = channel.name
        self.inside: bool = channel.inside
        self.promise: Promise = channel.promise
        self.ambiguity: Ambiguity = channel.ambiguity
        self.local: bool = channel.local
        self.attempt: timedelta = channel.attempt
        self.retry: Retry = channel.retry

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:
        return self._channel.address(profile, subject_key)

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """Raises NotAllowed, whose words are the reason in the ledger; else what the channel raises."""
        if not self._allowed.allows(outgoing.address):
            raise RecipientNotAllowed(WHY)
        return self._channel.prepare(outgoing)

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        if not self._allowed.allows(prepared.address):
            return Receipt(AttemptResult.REFUSED, WHY)
        return await self._channel.deliver(prepared, key)

    async def find(self, prepared: Prepared) -> bool | None:
        return await self._channel.find(prepared)

    async def close(self) -> None:
        await self._channel.close()

    def __getattr__(self, name: str) -> Any:
        """What a channel has beside the port, such as its breaker."""
        return getattr(self._channel, name)


def withheld_outside_production(
    channels: Mapping[str, Channel], *, environment: str, allowed: Iterable[str], sinks: Iterable[str] = ()
) -> dict[str, Channel]:
    """The channels, each behind the list, but for those that reach nobody: our own inbox, and `sinks` by name."""
    if environment == "production":
        return dict(channels)
    listed, harmless = AllowList(allowed), frozenset(sinks)
    return {
        name: channel if channel.inside or name in harmless else AllowListedChannel(channel, listed)
        for name, channel in channels.items()
    }
