"""Random events of groups: accounts with their members, or a person alone; equal seeds give equal ones.

Everybody belongs to the first account for good, and the first person to all: groups that become one later have no common order before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final

from journeys.simulation.recording import RecordedEvent
from tests.support.equality.journeys import FROM_OUTSIDE, ROLES

HOURS: Final = (0, 2, 6, 9, 9, 13, 17, 22)
ZONES: Final = ("Europe/Vienna", "America/Los_Angeles", "Asia/Tokyo")


class Stream:
    """The random events of one group from `origin` on, over some days."""

    def __init__(self, seed: int, origin: datetime, days: int) -> None:
        self.draw, self.origin, self.days, self.prefix = Random(f"stream {seed}"), origin, days, f"g{seed}"
        draw = self.draw
        accounts = draw.choice((0, 1, 2, 2, 3))
        people = draw.choice((2, 3, 3, 4)) if accounts else 1
        self.people = [f"{self.prefix}-{name}" for name in ("ada", "bob", "cy", "dee")[:people]]
        self.accounts = [f"{self.prefix}-{name}" for name in ("holding", "acme", "beta")[:accounts]]

    def events(self) -> Sequence[RecordedEvent]:
        """All of them, in the order in which they are accepted."""
        draw, events = self.draw, self._beginning()
        kinds: list[Callable[[datetime], RecordedEvent]] = [
            self._signal, self._signal, self._signal, self._traits, self._ticket, self._consent,
        ]  # fmt: skip
        if self.accounts:
            kinds += [self._of_account, self._of_account, self._fields, self._fields, self._membership]
        events += [draw.choice(kinds)(self._instant()) for _ in range(draw.randint(10, 35))]
        return sorted(events, key=lambda event: event.at)

    def _beginning(self) -> list[RecordedEvent]:
        draw, events = self.draw, list[RecordedEvent]()
        for person in self.people:
            traits = {"email": f"{person}@example.com", "first_name": "Ada", "role": draw.choice(ROLES)}
            events.append(RecordedEvent(self.origin, person, "profile", "identify", traits))
            joined = self.accounts if person == self.people[0] else self.accounts[: draw.randint(1, 3)]
            for account in joined:
                events.append(RecordedEvent(self.origin, person, "account", "group", {"plan": "free"}, account=account))
        for person in self.people:
            if draw.random() < 0.8:
                events.append(RecordedEvent(self.origin, person, "signal", "signed_up"))
        for account in self.accounts:
            events.append(RecordedEvent(self.origin, account, "signal", "contract_started", subject="account"))
        return events

    def _instant(self) -> datetime:
        return self.origin + timedelta(days=self.draw.randrange(self.days), hours=self.draw.choice(HOURS))

    # -- kinds -----------------------------------------------------------------------------------------------------

    def _signal(self, at: datetime) -> RecordedEvent:
        name = self.draw.choice((*FROM_OUTSIDE, "signed_up"))
        return RecordedEvent(at, self.draw.choice(self.people), "signal", name, self._data(name))

    def _of_account(self, at: datetime) -> RecordedEvent:
        name = self.draw.choice((*FROM_OUTSIDE, "contract_started", "contract_started"))
        return RecordedEvent(at, self.draw.choice(self.accounts), "signal", name, self._data(name), subject="account")

    @staticmethod
    def _data(name: str) -> dict[str, Any]:
        return {"feature": "export"} if name == "feature_used" else {}

    def _traits(self, at: datetime) -> RecordedEvent:
        draw = self.draw
        trait, value = draw.choice((
            ("plan", draw.choice(("pro", "free"))), ("role", draw.choice(ROLES)), ("timezone", draw.choice(ZONES)),
            ("account_fit", draw.choice((0.2, 0.8, None))),
        ))  # fmt: skip
        return RecordedEvent(at, draw.choice(self.people), "profile", "identify", {trait: value})

    def _fields(self, at: datetime) -> RecordedEvent:
        """Fields of an account, told by a member, or of the account itself."""
        draw = self.draw
        renewal = (at + timedelta(days=draw.randint(-2, 12))).isoformat()
        field, value = draw.choice((
            ("plan", draw.choice(("pro", "free", None))), ("health", draw.choice((0.2, 0.8))), ("renewal_date", renewal),
            ("renewal_date", renewal), ("csm", draw.choice(("anna", "bea", None))), ("timezone", draw.choice(ZONES)),
        ))  # fmt: skip
        account = draw.choice(self.accounts)
        if draw.random() < 0.5:
            return RecordedEvent(at, account, "account", "group", {field: value}, subject="account")
        return RecordedEvent(at, draw.choice(self.people), "account", "group", {field: value}, account=account)

    def _membership(self, at: datetime) -> RecordedEvent:
        person, account = self.draw.choice(self.people), self.draw.choice(self.accounts)
        if self.draw.random() < 0.6 and account != self.accounts[0] and person != self.people[0]:
            return RecordedEvent(at, person, "signal", "account_left", account=account)
        return RecordedEvent(at, person, "account", "group", account=account)

    def _ticket(self, at: datetime) -> RecordedEvent:
        draw, data = self.draw, dict[str, Any]()
        name = draw.choice(("ticket_opened", "ticket_opened", "ticket_resolved"))
        data["ticket_id"] = f"T-{draw.randrange(3)}"
        if name == "ticket_opened":
            data["priority"] = draw.choice(("urgent", "low"))
        return RecordedEvent(at, draw.choice(self.people), "signal", name, data)

    def _consent(self, at: datetime) -> RecordedEvent:
        draw = self.draw
        person, channel = draw.choice(self.people), draw.choice(("email", "in_app", "*"))
        topic = draw.choice(("onboarding", "renewal", "offers", "*"))
        if draw.random() < 0.3:
            return RecordedEvent(at, person, "signal", "message_bounced", {"kind": draw.choice(("hard", "soft"))})
        granted = draw.choice((True, True, False, None))
        return RecordedEvent(at, person, "consent", "consent", {"channel": channel, "topic": topic, "granted": granted})
