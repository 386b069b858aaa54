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

NOT_LISTED: Final = (
    "outside production only recipients on the allow-list get messages (TENURE_ENVIRONMENT, TENURE_ALLOWED_RECIPIENTS)"
)


class AllowList:
    """Addresses, or patterns such as `*@example.com`; case does not matter."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = tuple(pattern.strip().lower() for pattern in patterns)

    def allows(self, address: str) -> bool:
        return any(fnmatchcase(address.lower(), pattern) for pattern in self._patterns)


class AllowListedChannel:
    """A channel that neither renders nor sends for recipients who are not listed.

    It also rejects what was rendered before the list was shortened.
    """

    def __init__(self, channel: Channel, allowed: AllowList) -> None:
        self.channel, self._allowed = channel, allowed
        self.name: str = channel.name
        self.inside: bool = channel.inside
        self.promise: Promise = channel.promise
        self.ambiguity: Ambiguity = channel.ambiguity
        self.local: bool = channel.local
        self.attempt: timedelta = channel.attempt
        self.retry: Retry = channel.retry

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:
        return self.channel.address(profile, subject_key)

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """Raises RecipientNotAllowed, and what the channel raises."""
        if not self._allowed.allows(outgoing.address):
            raise RecipientNotAllowed(NOT_LISTED)
        return self.channel.prepare(outgoing)

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        if not self._allowed.allows(prepared.address):
            return Receipt(AttemptResult.REFUSED, NOT_LISTED)
        return await self.channel.deliver(prepared, key)

    async def find(self, prepared: Prepared) -> bool | None:
        return await self.channel.find(prepared)

    async def close(self) -> None:
        await self.channel.close()

    def __getattr__(self, name: str) -> Any:
        """Attributes that the channel has beside the port."""
        return getattr(self.channel, name)


def withheld_outside_production(
    channels: Mapping[str, Channel], *, environment: str, allowed: Iterable[str], sinks: Iterable[str] = ()
) -> dict[str, Channel]:
    """The channels behind the allow-list, except those that reach nobody: the in-app inbox, and `sinks` by name."""
    if environment == "production":
        return dict(channels)
    listed, harmless = AllowList(allowed), frozenset(sinks)
    return {
        name: channel if channel.inside or name in harmless else AllowListedChannel(channel, listed)
        for name, channel in channels.items()
    }
