"""Checks of messages: template, data, channel, topic, recipient roles and stop signals.

Every message can be rendered, has a topic and a recipient, and something stops it.
"""

from __future__ import annotations

from collections.abc import Iterator

from journeys.checks.context import CheckContext, state_of
from journeys.checks.structure import similar_name_hint
from journeys.content.template_info import TemplateInfo
from journeys.language import definition as d
from journeys.language.actions import PRESSING, Send
from journeys.language.conditions import fields_in
from journeys.language.problems import Problem
from journeys.language.traversal import ActionSite, expressions_of

INTERRUPTING = frozenset({"sms", "push"})
"""Channels that interrupt people: only for templates marked time_sensitive (C7)."""


def check_messages(context: CheckContext) -> Iterator[Problem]:
    """All problems of messages."""
    for site in context.actions:
        if isinstance(site.action, Send):
            yield from _send(context, site, site.action)
    yield from _stop_signals(context)
    yield from _product_state(context)


def _send(context: CheckContext, site: ActionSite, send: Send) -> Iterator[Problem]:
    yield from _roles(context, site, send)
    template = context.templates.get(send.send)
    yield from _topic(context, site, send, template)
    yield from _priority(context, site, send)
    if template is None:
        text = f"{send.send} is not in the catalogue" + similar_name_hint(send.send, context.templates)
        yield context.problem("T505", (*site.path, "send"), text)
        return
    if template.status != "live":
        yield context.problem("T508", (*site.path, "send"), f"{send.send} is {template.status}")
    yield from _data(context, site, send, template)
    yield from _channels(context, site, send, template)
    yield from _planned(context, site, template)


def _data(context: CheckContext, site: ActionSite, send: Send, template: TemplateInfo) -> Iterator[Problem]:
    for name in send.data:
        if name not in template.variables:
            text = f"{send.send} has no variable {name}" + similar_name_hint(name, template.variables)
            yield context.problem("T506", (*site.path, "data", name), text)
    for name in sorted(template.required - set(send.data)):
        yield context.problem("T507", site.path, f"{send.send} needs {name}")


def _channels(context: CheckContext, site: ActionSite, send: Send, template: TemplateInfo) -> Iterator[Problem]:
    for index, channel in enumerate(send.via):
        path = (*site.path, "via", index)
        if channel not in template.channels:
            text = f"{send.send} is made for {' and '.join(template.channels)}, not for {channel}"
            yield context.problem("T510", path, text)
        elif channel in INTERRUPTING and not template.time_sensitive:
            text = f"{send.send} is not marked `time_sensitive: true`, which {channel} requires"
            yield context.problem("T530", path, text)


def _planned(context: CheckContext, site: ActionSite, template: TemplateInfo) -> Iterator[Problem]:
    """The fields that a template reads and the signals that its checklist waits for are in the tracking plan."""
    path = (*site.path, "send")
    for field in sorted(template.fields - set(context.plan.vocabulary)):
        yield context.problem("T520", path, f"{template.name} reads {field}, which is not in the tracking plan")
    for signal in template.awaits:
        if signal not in context.plan.signals:
            text = f"{template.name} waits for {signal}, which is not in the tracking plan"
            yield context.problem("T531", path, text + similar_name_hint(signal, context.plan.signals))


def _topic(context: CheckContext, site: ActionSite, send: Send, template: TemplateInfo | None) -> Iterator[Problem]:
    topic, priority = context.journey.topic_of(send), context.journey.priority_of(send)
    if topic is None and priority not in PRESSING:
        text = f"{send.send} is {priority}, and neither it nor the journey has a topic"
        yield context.problem("T504", (*site.path, "send"), text)
    if template is not None and template.topic is not None and topic not in {None, template.topic}:
        text = f"{send.send} belongs to the topic {template.topic}, and would be sent under {topic}"
        yield context.problem("T509", (*site.path, "send"), text)


def _priority(context: CheckContext, site: ActionSite, send: Send) -> Iterator[Problem]:
    """Only messages that the policy names are of a priority that most of its rules do not cover."""
    topic, priority = context.journey.topic_of(send), context.journey.priority_of(send)
    if context.policy is not None and not context.policy.may_be(priority, send.send, topic):
        about = f"its topic {topic}" if topic is not None else "a topic of it"
        text = f"{send.send} is {priority}, and the policy names neither it nor {about} as {priority}"
        path = (*site.path, "priority") if send.priority is not None else (*site.path, "send")
        yield context.problem("T533", path, text)


def _roles(context: CheckContext, site: ActionSite, send: Send) -> Iterator[Problem]:
    if context.journey.subject == "user":
        if send.for_:
            text = "the subject is a user, and `for` names roles of an account"
            yield context.problem("T511", (*site.path, "for"), text)
        return
    if not send.for_:
        yield context.problem("T513", site.path, f"{send.send} names no role of the account")
    for index, role in enumerate(send.for_):
        if role not in context.plan.roles:
            text = f"{role} is not a role" + similar_name_hint(role, context.plan.roles)
            yield context.problem("T512", (*site.path, "for", index), text)


def _stop_signals(context: CheckContext) -> Iterator[Problem]:
    """A state's messages stop at its milestone; without one, an end rule or a transition must stop them (H7)."""
    journey = context.journey
    can_end = bool(journey.goal or journey.exit)
    for site in context.actions:
        if not isinstance(site.action, Send):
            continue
        name = state_of(site)
        state = journey.states.get(name) if name is not None else None
        if state is not None and state.final is not None:
            continue
        path, message = (*site.path, "send"), site.action.send
        milestone = state.milestone if state is not None else None
        if milestone is not None and name is not None and not _stops(journey, name, milestone):
            text = f"{milestone}, the milestone of {name}, does not lead out of it and does not stop {message}"
            yield context.problem("T502", path, text)
        elif milestone is None and not can_end and not _can_be_left(journey, name):
            yield context.problem("T503", path, f"no signal, goal or exit stops {message}")


def _stops(journey: d.Journey, name: str, signal: str) -> bool:
    """Whether a signal ends the run, or the visit of this state without entering it again with a message."""
    ends = {rule.on for rule in journey.exit} | set(journey.goal.on if journey.goal else ())
    if signal in ends:
        return True
    state = journey.states[name]
    sends_on_entry = any(isinstance(action, Send) for action in state.do)
    return any(target != name or not sends_on_entry for target in _targets(journey, state, signal))


def _targets(journey: d.Journey, state: d.State, signal: str) -> list[str]:
    """The targets of a signal from a state: of its own transitions up to the first without a guard, then the journey's."""
    targets = []
    for transitions in (state.on.get(signal, ()), journey.on.get(signal, ())):
        for transition in transitions:
            if transition.to is not None:
                targets.append(transition.to)
            if transition.when is None:
                return targets
    return targets


def _can_be_left(journey: d.Journey, name: str | None) -> bool:
    if name is None or name not in journey.states:
        return False
    state = journey.states[name]
    return any(to != name for signal in (*state.on, *journey.on) for to in _targets(journey, state, signal))


def _product_state(context: CheckContext) -> Iterator[Problem]:
    """A promotional message needs a guard that reads a field of the profile or the account (H8)."""
    guards = (expression for expression in expressions_of(context.journey) if expression.kind == "bool")
    if any(field.startswith(("profile.", "account.")) for guard in guards for field in fields_in(guard.source)):
        return
    for site in context.actions:
        if isinstance(site.action, Send) and context.journey.priority_of(site.action) == "promotional":
            text = f"{site.action.send} is promotional, and no guard reads a field of the profile or the account"
            yield context.problem("T519", (*site.path, "send"), text)
