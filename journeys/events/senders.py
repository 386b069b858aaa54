"""Senders of signals: whom a signal is accepted from, by its source.

| source of the signal | accepted from |
|---|---|
| the platform itself (`tenure`, `consent`, `journeys`) | nobody outside |
| a provider, or a signal that suppresses an address | a provider's webhook, an inbound mail, the operator's key |
| any other | also the write key |

The platform's and the providers' own signals are known by name: a tracking plan cannot give them another source.
"""

from __future__ import annotations

from typing import Final, Literal

from journeys.language.signal_names import PLATFORM_SIGNALS, PROVIDER_SIGNALS

SenderKind = Literal["write", "operator"]
"""The key that a request came with."""
PLATFORM_SOURCES: Final = frozenset({"tenure", "consent", "journeys"})
PROVIDER_SOURCE: Final = "provider"


def sender_fault(signal: str, source: str | None, sender: SenderKind, *, suppresses: bool = False) -> str:
    """Why this sender may not send a signal; empty if it may. `suppresses`: the signal suppresses an address."""
    if signal in PLATFORM_SIGNALS or (source in PLATFORM_SOURCES and signal not in PROVIDER_SIGNALS):
        return f"{signal} is a signal of the platform itself: nobody outside may send it"
    if sender == "operator":
        return ""
    if signal in PROVIDER_SIGNALS or source == PROVIDER_SOURCE or suppresses:
        return f"{signal} is an outcome that providers report: send it with the operator key, or use the provider's webhook"
    return ""
