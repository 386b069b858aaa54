"""What reaches people: each message can be made, has a topic, an addressee, and something that stops it."""

from __future__ import annotations

from collections.abc import Iterator

from journeys.checks.context import CheckContext, runs_in
from journeys.checks.structure import similar_names
from journeys.content.template_info import TemplateInfo
from journeys.language import definition as d
from journeys.language.actions import Send
from journeys.language.conditions import fields_in
from journeys.language.problems import Problem
from journeys.language.traversal import ActionSite, expressions_of

INTERRUPTING = frozenset({"sms", "push"})
"""Channels that interrupt people where they are: only for what cannot wait (C7)."""
WITHOUT_CONSENT = frozenset({"transactional", "urgent_support"})


def check_messages(look: CheckContext) -> Iterator[Problem]:
    """All problems of messages."""
    for doing in look.actions:
        if isinstance(doing.action, Send):
            yield from _send(look, doing, doing.action)
    yield from _stops(look)
    yield from _product_state(look)


def _send(look: CheckContext, doing: ActionSite, send: Send) -> Iterator[Problem]:
    yield from _addressee(look, doing, send)
    template = look.templates.get(send.send)
    yield from _topic(look, doing, send, template)
    if template is None:
        what = f"{send.send} is not in the catalog" + similar_names(send.send, look.templates)
        yield look.say("T505", (*doing.path, "send"), what)
        return
    if template.status != "live":
        yield look.say("T508", (*doing.path, "send"), f"{send.send} is {template.status}")
    for name in send.data:
        if name not in template.variables:
            what = f"{send.send} has no variable {name}" + similar_names(name, template.variables)
            yield look.say("T506", (*doing.path, "data", name), what)
    for name in sorted(template.required - set(send.data)):
        yield look.say("T507", doing.path, f"{send.send} needs {name}")
    for index, channel in enumerate(send.via):
        if channel not in template.channels:
            has = " and ".join(template.channels)
            yield look.say("T510", (*doing.path, "via", index), f"{send.send} is made for {has}, not for {channel}")
        elif channel in INTERRUPTING and not template.time_sensitive:
            what = f"{send.send} is not marked time_sensitive, and {channel} takes no other"
            yield look.say("T530", (*doing.path, "via", index), what)
    yield from _unplanned(look, doing, template)


def _unplanned(look: CheckContext, doing: ActionSite, template: TemplateInfo) -> Iterator[Problem]:
    """What a template reads of people, and what its checklist waits for, is in the tracking plan."""
    for field in sorted(template.fields - set(look.plan.vocabulary)):
        what = f"{template.name} reads {field}, which is not in the tracking plan"
        yield look.say("T520", (*doing.path, "send"), what)
    for signal in template.awaits:
        if signal not in look.plan.signals:
            what = f"{template.name} waits for {signal}, which is not in the tracking plan"
            yield look.say("T531", (*doing.path, "send"), what + similar_names(signal, look.plan.signals))


def _topic(look: CheckContext, doing: ActionSite, send: Send, template: TemplateInfo | None) -> Iterator[Problem]:
    topic, priority = look.journey.topic_of(send), look.journey.priority_of(send)
    if topic is None and priority not in WITHOUT_CONSENT:
        what = f"{send.send} is {priority}, and neither it nor the journey has a topic"
        yield look.say("T504", (*doing.path, "send"), what)
    if template is not None and template.topic is not None and topic not in {None, template.topic}:
        what = f"{send.send} belongs to the topic {template.topic}, and would go out under {topic}"
        yield look.say("T509", (*doing.path, "send"), what)


def _addressee(look: CheckContext, doing: ActionSite, send: Send) -> Iterator[Problem]:
    if look.journey.subject == "user":
        if send.for_:
            yield look.say("T511", (*doing.path, "for"), "the subject is a user, and `for` names roles of an account")
        return
    if not send.for_:
        yield look.say("T513", doing.path, f"{send.send} names nobody in the account")
    for index, role in enumerate(send.for_):
        if role not in look.plan.roles:
            yield look.say(
                "T512", (*doing.path, "for", index), f"{role} is not a role" + similar_names(role, look.plan.roles)
            )


def _stops(look: CheckContext) -> Iterator[Problem]:
    """H7: a state's messages stop at its milestone; where there is none, something else must stop them."""
    journey = look.journey
    ends = bool(journey.goal or journey.exit)
    for doing in look.actions:
        if not isinstance(doing.action, Send):
            continue
        name = runs_in(doing)
        state = journey.states.get(name) if name is not None else None
        if state is not None and state.final is not None:
            continue
        milestone = state.milestone if state is not None else None
        if milestone is not None and name is not None and not stopped_by(journey, name, milestone):
            what = f"{milestone}, the milestone of {name}, does not lead out of it, so {doing.action.send} goes on"
            yield look.say("T502", (*doing.path, "send"), what)
        elif milestone is None and not ends and not _leaves(journey, name):
            what = f"no signal, goal or exit stops {doing.action.send}"
            yield look.say("T503", (*doing.path, "send"), what)


def stopped_by(journey: d.Journey, name: str, signal: str) -> bool:
    """Whether this signal ends the run, or the visit of this state without beginning it anew with a message."""
    stops = {stop.on for stop in journey.exit} | set(journey.goal.on if journey.goal else ())
    if signal in stops:
        return True
    state = journey.states[name]
    again = any(isinstance(action, Send) for action in state.do)
    targets = _targets(journey, state, signal)
    return any(to != name or not again for to in targets)


def _targets(journey: d.Journey, state: d.State, signal: str) -> list[str]:
    """Where a signal can lead from a state: its own transitions up to the first without guard, then the journey's."""
    found = []
    for moves in (state.on.get(signal, ()), journey.on.get(signal, ())):
        for move in moves:
            if move.to is not None:
                found.append(move.to)
            if move.when is None:
                return found
    return found


def _leaves(journey: d.Journey, name: str | None) -> bool:
    if name is None or name not in journey.states:
        return False
    state = journey.states[name]
    return any(to != name for signal in (*state.on, *journey.on) for to in _targets(journey, state, signal))


def _product_state(look: CheckContext) -> Iterator[Problem]:
    """H8: who is promoted to is known: some guard reads a field of the profile or the account."""
    guards = (item for item in expressions_of(look.journey) if item.kind == "bool")
    if any(field.startswith(("profile.", "account.")) for item in guards for field in fields_in(item.source)):
        return
    for doing in look.actions:
        if isinstance(doing.action, Send) and look.journey.priority_of(doing.action) == "promotional":
            yield look.say(
                "T519", (*doing.path, "send"), f"{doing.action.send} is promotional, and no guard reads a field"
            )
