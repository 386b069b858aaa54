"""Events and signals of twenty users of a software company, by day."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import zip_longest
from typing import Any, Final

from cli.demonstration.api_client import DemoApi
from cli.demonstration.shop import ORIGIN, EventBody
from journeys.events.tracking_plan import TrackingPlan
from journeys.simulation.backtest import Stream, streams_of
from journeys.simulation.recording import RecordedEvent, read_recorded

USERS: Final = tuple(f"user-{n:02}" for n in range(1, 15))
ACCOUNTS: Final = tuple(f"account-{n}" for n in range(1, 7))
JOURNEYS: Final = ("setup-and-activation", "urgent-support", "renewal-readiness")

ALONE: Final = USERS[2 * len(ACCOUNTS) :]
"""Users of no account."""
OUTCOMES: Final = {"onboarding-call": "booked", "renewal-plan": "agreed", "renewal-call": "at_risk"}
"""How the team closes its tasks, by their kind."""

SIGNED_UP = 1
QUICK, COOLED, HELPED, IN_TROUBLE = USERS[:4], USERS[4:8], USERS[8:10], USERS[10:12]
RENEWALS: Final = {
    "account-1": 190,
    "account-2": 200,
    "account-3": 300,
    "account-4": 215,
    "account-5": 230,
    "account-6": 245,
}
"""Day on which each contract renews, before any change."""
MOVED: Final = {"account-2": (30, 265), "account-3": (40, 210)}
"""Renewal dates that move: on which day, and to which day."""


class Script:
    """Segment calls and direct signals by day; calls in `later` are sent once the rest of the day is settled."""

    def __init__(self) -> None:
        self.calls: dict[int, list[EventBody]] = defaultdict(list)
        self.later: dict[int, list[EventBody]] = defaultdict(list)
        self.signals: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
        self.number = 0
        for user in USERS:
            self._user(user)
        for account, day in RENEWALS.items():
            self._account(account, day)

    def _user(self, user: str) -> None:
        fit = 0.9 if user in HELPED else 0.2
        self._identify(
            0, user, email=f"{user}@example.com", first_name=user.title(), use_case="reporting", account_fit=fit
        )
        self._track(SIGNED_UP, user, "Signed Up", plan="team")
        if user in QUICK:
            self._track(2, user, "Setup Completed")
            self._track(8, user, "Activated")
        elif user in COOLED:
            # The checklist was sent earlier on this day, so the cooldown defers the next mail.
            self._track(4, user, "Setup Completed", later=True)
            self._track(14, user, "Activated")
        elif user in HELPED:
            self._track(13, user, "Setup Completed")
            self._track(20, user, "Activated")
        elif user in IN_TROUBLE:
            ticket: dict[str, Any] = {"ticket_id": f"T-{user}", "topic": "setup"}
            self._track(3, user, "Ticket Opened", **ticket, priority="urgent", subject="Nothing works")
            self._track(9, user, "Ticket Resolved", **ticket)
            self._track(16, user, "Setup Completed")

    def _account(self, account: str, day: int) -> None:
        people = USERS[ACCOUNTS.index(account) * 2 : ACCOUNTS.index(account) * 2 + 2]
        for person, role in zip(people, ("champion", "admin"), strict=True):
            self._identify(0, person, role=role)
            self._group(0, person, account, name=account.title(), plan="team", renewal_date=_date(day))
        self.signals[1].append((account, "contract_started", f"{account}-started"))
        if account in MOVED:
            moved_on, moved_to = MOVED[account]
            self._group(moved_on, people[0], account, renewal_date=_date(moved_to))

    def _identify(self, day: int, user: str, **traits: Any) -> None:
        self._add(day, {"type": "identify", "userId": user, "traits": traits})

    def _track(self, day: int, user: str, event: str, *, later: bool = False, **properties: Any) -> None:
        call = {"type": "track", "userId": user, "event": event, "properties": properties}
        self._add(day, call, later=later)

    def _group(self, day: int, user: str, account: str, **traits: Any) -> None:
        self._add(day, {"type": "group", "userId": user, "groupId": account, "traits": traits})

    def _add(self, day: int, call: EventBody, *, later: bool = False) -> None:
        self.number += 1
        (self.later if later else self.calls)[day].append(
            {"messageId": f"saas-{self.number}", "timestamp": _date(day), **call}
        )


def batches(calls: Sequence[EventBody]) -> list[list[EventBody]]:
    """Calls of one instant, in order, with at most one of each account or user without one in a batch.

    A batch is one transaction, and the backtest decides everything after each event.
    """
    queues: dict[str, list[EventBody]] = defaultdict(list)
    for call in calls:
        number = USERS.index(call["userId"]) // 2
        queues[ACCOUNTS[number] if number < len(ACCOUNTS) else call["userId"]].append(call)
    return [[call for call in together if call is not None] for together in zip_longest(*queues.values())]


async def play_signals(api: DemoApi, script: Script, day: int) -> None:
    """Send the direct signals of a day: the billing system does not use Segment."""
    for account, name, identity in script.signals.get(day, ()):
        await api.signal("account", account, name, identity, ORIGIN + timedelta(days=day))


def is_closing_day(day: int) -> bool:
    """Whether the team closes its open tasks on a day: once a week."""
    return day % 7 == 3


async def close_open_tasks(api: DemoApi) -> int:
    """Close the open tasks, kind by kind, and wait each time for what follows; returns how many."""
    closed = 0
    for kind, outcome in OUTCOMES.items():
        tasks = [task for task in await api.open_tasks() if task["task"] == kind]
        for task in tasks:
            await api.close_task(task, outcome)
        if tasks:
            await api.settle()
        closed += len(tasks)
    return closed


def company_streams(script: Script, plan: TrackingPlan, last: int) -> list[Stream]:
    """What happens to the company's users and accounts until day `last`, for the backtest, group by group."""
    return streams_of(event for day in range(last + 1) for event in _recorded_on(script, plan, day))


def _recorded_on(script: Script, plan: TrackingPlan, day: int) -> Iterator[RecordedEvent]:
    """The events of a day, in the order in which they are sent."""
    at = ORIGIN + timedelta(days=day)
    yield from (read_recorded(call, plan.events, plan.traits) for call in script.calls.get(day, ()))
    for account, name, _ in script.signals.get(day, ()):
        yield RecordedEvent(at, account, "signal", name, subject="account")
    for kind, outcome in OUTCOMES.items() if is_closing_day(day) else ():
        close = {"task": kind, "outcome": outcome, "by": "demo"}
        yield from (
            RecordedEvent(at, account, "operator", "close_task", close, subject="account") for account in ACCOUNTS
        )
        yield from (RecordedEvent(at, user, "operator", "close_task", close) for user in ALONE)
    yield from (read_recorded(call, plan.events, plan.traits) for call in script.later.get(day, ()))


def _date(day: int) -> str:
    return (ORIGIN + timedelta(days=day)).isoformat()
