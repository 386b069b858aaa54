"""Random journeys of people and accounts, with the policy and the team that decide for them; equal seeds give equal ones.

No journey decides for ever at one instant: what reacts to an emitted signal emits none, and an outcome leads only to a later state.
"""

from __future__ import annotations

import json
from random import Random
from typing import Any, Final, Literal

Subject = Literal["user", "account"]
STATES: Final = ("a", "b", "c", "d")
FROM_OUTSIDE: Final = (
    "setup_completed",
    "activated",
    "feature_used",
    "cancellation_clicked",
    "champion_left",
    "contract_renewed",
)
ANSWERS: Final = ("message_delivered", "message_clicked", "message_replied")
EMITTED: Final = ("value_review_held", "renewal_plan_agreed")
ROLES: Final = ("champion", "admin", "user")
GUARDS: Final[dict[Subject, tuple[str, ...]]] = {
    "user": (
        'account.plan == "pro"', 'profile.plan == "pro"', "!known.account.health", "journey.visits < 4", "journey.seen < 3",
        "account.health > 0.5", 'profile.role == "champion"', "profile.account_fit > 0.5",
    ),
    "account": (
        'account.plan == "pro"', "account.health > 0.5", "journey.visits < 4", "journey.seen < 3", "!known.account.plan",
    ),
}  # fmt: skip
TEMPLATES: Final = ("education/first-value", "education/invite-your-team", "setup/first-steps", "setup/checklist")
CHANNELS: Final = (["email"], ["in_app"], ["email", "in_app"], ["in_app", "email"])
DELAYS: Final = ("PT6H", "PT20H", "P1D", "P2D", "P5D")


def policy(seed: int) -> dict[str, Any]:
    """A policy with consent, caps, cooldowns, quiet hours, digests and replies."""
    draw = Random(f"policy {seed}")
    rules: dict[str, Any] = {
        "timezone": "Europe/Vienna",
        "topics": {"offers": "Offers"},
        "consent": [{"default": "granted"}, {"channel": "email", "topic": "offers", "default": "required"}],
        "caps": [{"name": "a-day", "limit": draw.choice((2, 3, 4)), "window": "P1D"}],
        "expires_after": draw.choice(("P3D", "P14D")),
        "link_domains": ["example.com"],
        "urgent_ticket": {"recheck": "PT6H"},
        "answered": {"within": "PT8H", "escalate": ["cid"], **draw.choice(({}, {"quiet": "P2D"}))},
    }
    rules["caps"] += draw.choice(([], [{"name": "a-week", "channel": "email", "limit": 4, "calendar": "week"}]))
    rules["cooldowns"] = draw.choice(
        ([], [{"name": "calm", "channel": "email", "between": draw.choice(("PT5H", "PT20H"))}])
    )
    night = {"name": "night", "start": "21:00", "end": "08:00", "channel": draw.choice(("email", "in_app"))}
    rules["quiet_hours"] = draw.choice(([], [night], [night]))
    office = {
        "name": "office",
        "topic": "renewal",
        "days": ["mon", "tue", "wed", "thu", "fri"],
        "start": "09:00",
        "end": "17:00",
    }
    rules["send_windows"] = draw.choice(([], [office]))
    together = [
        {
            "name": f"one-{channel}",
            "channel": channel,
            "priorities": ["lifecycle"],
            "window": draw.choice(("PT2H", "PT12H")),
        }
        for channel in ("email", "in_app")
    ]
    rules["consolidate"] = draw.choice(([], together[:1], together))
    return rules


TEAM: Final = """
zone: UTC
hours: {mon-fri: "09:00-17:00"}
owner: csm
people:
  anna: {team: [success, turns], zone: America/New_York}
  bea: {team: [success, turns], capacity: 2, deputies: [cid]}
  cid: {team: [turns], hours: {mon-sun: "00:00-24:00"}, away: [{from: 2027-01-08, to: 2027-01-12}]}
teams:
  success: {by: [owner, load]}
  turns: {by: round_robin}
tasks:
  onboarding-call: {outcomes: [booked, no_answer]}
"""


def journeys(seed: int) -> list[str]:
    """The texts of four journeys of people, one of them with cases, and two of accounts."""
    draw = Random(f"journeys {seed}")
    names = [
        f"{letter}-{kind}"
        for letter, kind in zip(
            draw.sample("abcdefgh", 6), ("user", "user", "user", "ticket", "of-account", "of-account"), strict=True
        )
    ]
    return [json.dumps(JourneyOf(draw, name).text()) for name in names]


class JourneyOf:
    """One random journey."""

    def __init__(self, draw: Random, name: str) -> None:
        self.draw, self.name = draw, name
        self.subject: Subject = "account" if name.endswith("account") else "user"
        self.has_cases = name.endswith("ticket")

    def text(self) -> dict[str, Any]:
        draw = self.draw
        journey: dict[str, Any] = {"journey": self.name, "subject": self.subject, "entry": self._entry()}
        if self.has_cases:
            journey["case"] = "ticket_id"
        if draw.random() < 0.4 and not self.has_cases:
            journey["goal"] = {
                "on": draw.choice(("contract_renewed", "activated")),
                **draw.choice(({}, {"within": "P9D"})),
            }
        journey |= {
            "priority": draw.choice(("lifecycle", "lifecycle", "lifecycle", "promotional", "transactional")),
            "topic": draw.choice(("onboarding", "onboarding", "renewal", "offers")),
            "variables": {"seen": "int"},
            "start": "a",
        }
        if draw.random() < 0.3:
            journey |= self._reactions("")
        states: dict[str, Any] = {name: self._state(name) for name in STATES[:3]}
        return journey | {"states": {**states, "d": {"final": "done", "do": draw.choice(([], [self._send("bye")]))}}}

    def _entry(self) -> dict[str, Any]:
        if self.has_cases:
            return {"on": "ticket_opened", "again": "always"}
        again = self.draw.choice(("never", "always", "always", {"after": "P3D"}))
        first = "contract_started" if self.subject == "account" else "signed_up"
        return {
            "on": self.draw.choice(([first], [first, "setup_completed"], [first, "value_review_held"])),
            "again": again,
        }

    def _state(self, name: str) -> dict[str, Any]:
        do = [{"set": {"seen": "0"}}, *self._entry_actions()] if name == "a" else self._entry_actions()
        return {"do": do, "owner": "success", **self._reactions(name, do)}

    def _entry_actions(self) -> list[dict[str, Any]]:
        kinds = self.draw.choice((["one"], ["one", "two"], ["task"], ["one", "task"], ["task", "one", "two"], []))
        return [self._task() if kind == "task" else self._send(kind) for kind in kinds]

    # -- reactions -------------------------------------------------------------------------------------------------

    def _reactions(self, state: str, do: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        draw, on = self.draw, dict[str, Any]()
        if self.has_cases:
            on["ticket_resolved"] = self._moves(state, emits=True)
        else:
            for signal in draw.sample(FROM_OUTSIDE, draw.choice((1, 2, 2, 3))):
                on[signal] = self._moves(state, emits=True)
            for signal in draw.sample((*EMITTED, *ANSWERS), draw.choice((0, 1, 2))):
                on[signal] = self._moves(state, emits=False)
        if state:
            on |= self._outcomes(state, do or [])
        reactions: dict[str, Any] = {"on": on}
        reactions["after"] = {
            delay: self._move(state, emits=True) for delay in draw.sample(DELAYS, draw.choice((0, 1, 1, 2)))
        }
        if draw.random() < 0.25:
            reactions["every"] = {draw.choice(("PT18H", "P2D")): {**self._move("", emits=True), "times": 3}}
        if draw.random() < 0.35 and not self.has_cases:
            shift = draw.choice(({"before": "P5D"}, {"before": "PT12H"}, {"after": "P1D"}, {}))
            past = draw.choice(("skip", "act"))
            reactions["at"] = [{"date": "account.renewal_date", "past": past, **shift, **self._move(state, emits=True)}]
        return {key: value for key, value in reactions.items() if value}

    def _outcomes(self, state: str, do: list[dict[str, Any]]) -> dict[str, Any]:
        later, on = STATES[STATES.index(state) + 1 :], dict[str, Any]()
        for action in do:
            if "send" in action and self.draw.random() < 0.4:
                on[f"{action['name']}.{self.draw.choice(('sent', 'sent', 'withheld'))}"] = {
                    "to": self.draw.choice(later)
                }
            if "task" in action and self.draw.random() < 0.7:
                on["onboarding-call.closed"] = [
                    {"to": self.draw.choice(later), "when": 'event.outcome == "booked"'},
                    *self._moves("", emits=False),
                ]
            if "task" in action and self.draw.random() < 0.4:
                on["onboarding-call.overdue"] = self._moves("", emits=False)
        return on

    def _moves(self, state: str, *, emits: bool) -> list[dict[str, Any]]:
        return [self._move(state, emits=emits) for _ in range(self.draw.choice((1, 1, 2)))]

    def _move(self, state: str, *, emits: bool) -> dict[str, Any]:
        """A transition, which leads to any state unless `state` is empty."""
        draw = self.draw
        move: dict[str, Any] = {"to": draw.choice(STATES)} if state and draw.random() < 0.55 else {}
        if draw.random() < 0.3:
            move["when"] = draw.choice(GUARDS[self.subject])
        move["do"] = [
            self._transition_action(number, emits=emits)
            for number in range(draw.choice((0, 1, 1, 2)) if move.get("to") else 1)
        ]
        return move

    def _transition_action(self, number: int, *, emits: bool) -> dict[str, Any]:
        draw = self.draw
        kinds = ["send", "send", "set", "close", *(["emit", "emit"] if emits else [])]
        match draw.choice(kinds):
            case "send":
                return self._send(f"more{number}-{draw.randrange(10**6)}")
            case "set":
                return {"set": {"seen": "journey.seen + 1"}}
            case "close":
                return {"close": "onboarding-call"}
            case _:
                return {"emit": draw.choice(EMITTED)}

    # -- actions ---------------------------------------------------------------------------------------------------

    def _send(self, name: str) -> dict[str, Any]:
        draw = self.draw
        send: dict[str, Any] = {"send": draw.choice(TEMPLATES), "name": name, "via": draw.choice(CHANNELS)}
        if self.subject == "account":
            send["for"] = draw.sample(ROLES, draw.choice((1, 2)))
        if draw.random() < 0.2:
            send["priority"] = draw.choice(("promotional", "transactional", "urgent_support"))
        if draw.random() < 0.2:
            send["expires"] = draw.choice(("PT10H", "P2D"))
        return send

    def _task(self) -> dict[str, Any]:
        draw = self.draw
        limit = draw.choice(({"sla": "PT30H"}, {"within": "PT4H"}, {"within": "PT12H"}))
        return {
            "task": "onboarding-call",
            "owner": draw.choice(("success", "turns", "bea")),
            "escalate": draw.choice((["cid"], ["turns", "cid"])),
            **limit,
        }
