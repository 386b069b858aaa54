"""Channel adapters, one module or package for each provider."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from activities.ports import Channel


def channels(*, email: Channel, in_app: Channel) -> Mapping[str, Channel]:
    """The registry the gate chooses from, by the name that a definition's `via` uses."""
    return MappingProxyType({"email": email, "in_app": in_app})
