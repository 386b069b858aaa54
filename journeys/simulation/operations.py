"""Operator state in memory: kill switches, holds, suppressions, conversations, retired content.

The simulator's share of what the store knows: told by recorded events, read by the gate and by `whynot.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from journeys.gate.verdicts import Hold, KillSwitch, OpenConversation, RecipientContext
from journeys.simulation.recording import UnusableRecord, read_instant

Since = dict[tuple[str, ...], datetime]
"""By what it is about (`("consent", "email", "offers")`), since when it is so."""


@dataclass(slots=True)
class OperatorState:
    """Kept in step by `happened`; `since` also has what others note there."""

    stops: tuple[KillSwitch, ...] = ()
    held: tuple[Hold, ...] = ()
    suppressed: dict[str, str] = field(default_factory=dict)
    talks: tuple[OpenConversation, ...] = ()
    unsendable: dict[str, str] = field(default_factory=dict)
    since: Since = field(default_factory=dict)

    def known_to(self, standing: RecipientContext, now: datetime) -> RecipientContext:
        """What the gate knows, with this."""
        if not (self.stops or self.held or self.suppressed or self.talks):
            return standing
        held = tuple(each for each in self.held if each.until > now)
        return replace(standing, stops=self.stops, held=held, suppressed=self.suppressed, talks=self.talks)

    def happened(self, what: str, data: Mapping[str, Any], at: datetime) -> None:
        """Somebody of ours has done something (`recorded.OPERATOR`); what is not known changes nothing."""
        scope, name, channel = (str(data.get(each) or "") for each in ("scope", "name", "channel"))
        template = str(data.get("template") or "")
        match what:
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
        """They have answered a message of this run."""
        self.talks = (*(each for each in self.talks if each.run != run), OpenConversation(run, until))
        self.since.setdefault(("talk", run), at)

    def closed(self, run: str) -> None:
        """A person has closed the conversation."""
        self.talks = tuple(each for each in self.talks if each.run != run)
        self.since.pop(("talk", run), None)

    def _hold(self, data: Mapping[str, Any], at: datetime) -> None:
        try:
            until = read_instant(data.get("until"))
        except UnusableRecord:
            return
        self.held = (Hold(until, str(data.get("by") or "somebody"), str(data.get("why") or "")),)
        self.since["held",] = at

    def _other_stops(self, scope: str, name: str) -> tuple[KillSwitch, ...]:
        return tuple(each for each in self.stops if (each.scope, each.name) != (scope, name))
