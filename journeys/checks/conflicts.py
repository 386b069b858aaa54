"""Checks between journeys: moments, audiences and stages that contradict (C8).

Two journeys never give one person contradicting guidance. There are three static rules:

1. **One moment, one journey.** Two journeys that serve the same `moment` of the same kind of subject may share an entry
   signal only if both guard their entry.
2. **One audience, one direction.** No signal makes one journey add to an audience and another remove from it.
3. **A stage that has ended stays ended.** The signal that stops the messages of a stage in one journey (its goal, or
   the milestone of the state that sends them) is not the signal that starts messages of that stage in another.
   Urgent support and transactional messages are exempt: they are no guidance.
"""

from __future__ import annotations

from collections.abc import Iterator

from journeys.checks.context import CheckContext, state_of
from journeys.content.template_info import TemplateInfos
from journeys.language import definition as d
from journeys.language.actions import PRESSING, Action, Audience, Send
from journeys.language.problems import Path, Problem
from journeys.language.traversal import actions_of, incoming_transitions


def check_conflicts(context: CheckContext) -> Iterator[Problem]:
    """All contradictions of this journey with the others that are live."""
    journey = context.journey
    for other in context.others:
        if other.journey != journey.journey and other.subject == journey.subject:
            yield from _moments(context, other)
            yield from _audiences(context, other)
            yield from _stages(context, other)


def _moments(context: CheckContext, other: d.Journey) -> Iterator[Problem]:
    journey = context.journey
    if journey.moment is None or journey.moment != other.moment or (journey.entry.when and other.entry.when):
        return
    for index, name in enumerate(journey.entry.on):
        if name in other.entry.on:
            text = f"{name} also starts a run of {other.journey}, for the same moment {journey.moment}"
            yield context.problem("T601", ("entry", "on", index), text)


def _audiences(context: CheckContext, other: d.Journey) -> Iterator[Problem]:
    changes_of_other = {(signal, name, change) for signal, name, change, _ in _audience_changes(other)}
    for signal, name, change, path in _audience_changes(context.journey):
        opposite = "remove" if change == "add" else "add"
        if (signal, name, opposite) in changes_of_other:
            verbs = {"add": f"adds to the audience {name}", "remove": f"removes from the audience {name}"}
            text = f"on {signal} this journey {verbs[change]}, and {other.journey} {verbs[opposite]}"
            yield context.problem("T602", path, text)


def _audience_changes(journey: d.Journey) -> Iterator[tuple[str, str, str, Path]]:
    for signal, path, action in _actions_by_signal(journey):
        if isinstance(action, Audience) and action.when is None:
            yield signal, action.audience, action.change, path


def _actions_by_signal(journey: d.Journey) -> Iterator[tuple[str, Path, Action]]:
    """Every action that a signal leads to at once, with that signal and the action's path."""
    incoming = incoming_transitions(journey)
    for site in actions_of(journey):
        if site.reaction is None:
            for signal in incoming.get(site.state or "", ()):
                yield signal, site.path, site.action
        elif site.reaction.trigger == "on":
            yield site.reaction.key, site.path, site.action


def _stages(context: CheckContext, other: d.Journey) -> Iterator[Problem]:
    journey, templates = context.journey, context.templates
    ended_by_other = _stages_ended(other, templates)
    for signal, stage, path in _stages_begun(journey, templates):
        if (signal, stage) in ended_by_other:
            text = f"{signal} starts messages of the stage {stage} here, and stops them in {other.journey}"
            yield context.problem("T603", path, text)
    begun_by_other = {(signal, stage) for signal, stage, _ in _stages_begun(other, templates)}
    for (signal, stage), path in _stages_ended(journey, templates).items():
        if (signal, stage) in begun_by_other:
            text = f"{signal} stops messages of the stage {stage} here, and starts them in {other.journey}"
            yield context.problem("T603", path, text)


def _stages_begun(journey: d.Journey, templates: TemplateInfos) -> Iterator[tuple[str, str, Path]]:
    for signal, path, action in _actions_by_signal(journey):
        stage = _guided_stage(journey, action, templates)
        if stage is not None:
            yield signal, stage, path


def _stages_ended(journey: d.Journey, templates: TemplateInfos) -> dict[tuple[str, str], Path]:
    ended: dict[tuple[str, str], Path] = {}
    for site in actions_of(journey):
        stage = _guided_stage(journey, site.action, templates)
        if stage is None:
            continue
        name = state_of(site)
        milestone = journey.states[name].milestone if name in journey.states and name is not None else None
        if milestone is not None:
            ended.setdefault((milestone, stage), ("states", name or "", "milestone"))
        for index, signal in enumerate(journey.goal.on if journey.goal else ()):
            ended.setdefault((signal, stage), ("goal", "on", index))
    return ended


def _guided_stage(journey: d.Journey, action: Action, templates: TemplateInfos) -> str | None:
    """The stage of a message's template; None for an action without guidance."""
    if not isinstance(action, Send) or journey.priority_of(action) in PRESSING:
        return None
    template = templates.get(action.send)
    return template.stage if template is not None else None
