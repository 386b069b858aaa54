"""Operator state in memory: kill switches, holds, suppressions, conversations, retired content.

The simulator changes it by recorded events; the gate and why-not read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from journeys.gate.verdicts import Hold, KillSwitch, OpenConversation, RecipientContext
from journeys.simulation.recording import UnusableRecord, read_instant

Since = dict[tuple[str, ...], datetime]
"""Since when a fact holds, by the fact: `("consent", "email", "offers")`."""


@dataclass(slots=True)
class OperatorState:
    """The operators' state, changed by `apply`; `since` also has facts of others, such as consents."""

    stops: tuple[KillSwitch, ...] = ()
    held: tuple[Hold, ...] = ()
    suppressed: dict[str, str] = field(default_factory=dict)
    talks: tuple[OpenConversation, ...] = ()
    unsendable: dict[str, str] = field(default_factory=dict)
    since: Since = field(default_factory=dict)

    def added_to(self, context: RecipientContext, now: datetime) -> RecipientContext:
        """The gate's context with this state."""
        if not (self.stops or self.held or self.suppressed or self.talks):
            return context
        held = tuple(hold for hold in self.held if hold.until > now)
        return replace(context, stops=self.stops, held=held, suppressed=self.suppressed, talks=self.talks)

    def apply(self, operation: str, data: Mapping[str, Any], at: datetime) -> None:
        """Apply an operation of an operator (`recording.OPERATOR`); an unknown one changes nothing."""
        scope, name, channel = (str(data.get(key) or "") for key in ("scope", "name", "channel"))
        template = str(data.get("template") or "")
        match operation:
            case "stop":
                self.stops = (*self._other_stops(scope, name), KillSwitch(scope, name, str(data.get("why") or "")))
                self.since["stop", scope, name] = at
            case "release_stop":
                self.stops = self._other_stops(scope, name)
            case "hold":
                self._hold(data, at)
            case "release_hold":
                self.held = ()
            case "suppress":
                self.suppressed = {**self.suppressed, channel: str(data.get("reason") or "operator")}
                self.since["suppressed", channel] = at
            case "lift_suppression":
                self.suppressed = {to: why for to, why in self.suppressed.items() if to != channel}
            case "retire_content":
                self.unsendable[template] = str(data.get("why") or f"{template} is retired")
                self.since["content", template] = at
            case "mend_content":
                self.unsendable.pop(template, None)
            case _:
                pass

    def answered(self, run: str, until: datetime, at: datetime) -> None:
        """The person has replied to a message of this run."""
        self.talks = (
            *(conversation for conversation in self.talks if conversation.run != run),
            OpenConversation(run, until),
        )
        self.since.setdefault(("talk", run), at)

    def closed(self, run: str) -> None:
        """The conversation of this run is closed."""
        self.talks = tuple(conversation for conversation in self.talks if conversation.run != run)
        self.since.pop(("talk", run), None)

    def _hold(self, data: Mapping[str, Any], at: datetime) -> None:
        try:
            until = read_instant(data.get("until"))
        except UnusableRecord:
            return
        self.held = (Hold(until, str(data.get("by") or "somebody"), str(data.get("why") or "")),)
        self.since["held",] = at

    def _other_stops(self, scope: str, name: str) -> tuple[KillSwitch, ...]:
        return tuple(switch for switch in self.stops if (switch.scope, switch.name) != (scope, name))
