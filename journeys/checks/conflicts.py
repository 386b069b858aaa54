"""Two journeys never give one person contradicting guidance (C8). Three rules, and each is one that can be decided:

1. **One moment, one journey.** Two journeys that serve the same `moment` of the same kind of subject may share an entry
   signal only if both guard their entry.
2. **One audience, one direction.** No signal makes one journey add to an audience and another take from it.
3. **A stage that has ended stays ended.** The signal that stops the messages of a stage in one journey (its goal, or
   the milestone of the state that sends them) is not the signal that starts messages of that stage in another.
   Urgent support and transactional messages are exempt: they guide nobody.
"""

from __future__ import annotations

from collections.abc import Iterator

from journeys.checks.context import CheckContext, runs_in
from journeys.checks.messages import WITHOUT_CONSENT
from journeys.content.template_info import TemplateInfos
from journeys.language import definition as d
from journeys.language.actions import Action, Audience, Send
from journeys.language.problems import Path, Problem
from journeys.language.traversal import actions_of, incoming_transitions


def check_conflicts(look: CheckContext) -> Iterator[Problem]:
    """All contradictions of this journey with the others that are live."""
    for other in look.others:
        if other.journey != look.journey.journey and other.subject == look.journey.subject:
            yield from _moments(look, other)
            yield from _audiences(look, other)
            yield from _stages(look, other)


def _moments(look: CheckContext, other: d.Journey) -> Iterator[Problem]:
    mine = look.journey
    if mine.moment is None or mine.moment != other.moment or (mine.entry.when and other.entry.when):
        return
    for index, name in enumerate(mine.entry.on):
        if name in other.entry.on:
            what = f"{name} also opens {other.journey}, for the same moment {mine.moment}"
            yield look.say("T601", ("entry", "on", index), what)


def _audiences(look: CheckContext, other: d.Journey) -> Iterator[Problem]:
    theirs = {(signal, name, change) for signal, name, change, _ in _changes(other)}
    for signal, name, change, path in _changes(look.journey):
        opposite = "remove" if change == "add" else "add"
        if (signal, name, opposite) in theirs:
            what = f"on {signal} it would {change} the audience {name}, and {other.journey} would {opposite} it"
            yield look.say("T602", path, what)


def _changes(journey: d.Journey) -> Iterator[tuple[str, str, str, Path]]:
    for signal, path, action in _on_signals(journey):
        if isinstance(action, Audience) and action.when is None:
            yield signal, action.audience, action.change, path


def _on_signals(journey: d.Journey) -> Iterator[tuple[str, Path, Action]]:
    """Every action that a signal leads to at once, by that signal."""
    leading = incoming_transitions(journey)
    for doing in actions_of(journey):
        if doing.reaction is None:
            for signal in leading.get(doing.state or "", ()):
                yield signal, doing.path, doing.action
        elif doing.reaction.trigger == "on":
            yield doing.reaction.by, doing.path, doing.action


def _stages(look: CheckContext, other: d.Journey) -> Iterator[Problem]:
    mine = look.journey
    theirs = _ended(other, look.templates)
    for signal, stage, path in _begun(mine, look.templates):
        if (signal, stage) in theirs:
            what = f"{signal} begins messages of the stage {stage} here, and ends them in {other.journey}"
            yield look.say("T603", path, what)
    begun = {(signal, stage) for signal, stage, _ in _begun(other, look.templates)}
    for (signal, stage), path in _ended(mine, look.templates).items():
        if (signal, stage) in begun:
            what = f"{signal} ends messages of the stage {stage} here, and begins them in {other.journey}"
            yield look.say("T603", path, what)


def _begun(journey: d.Journey, templates: TemplateInfos) -> Iterator[tuple[str, str, Path]]:
    for signal, path, action in _on_signals(journey):
        stage = _stage(journey, action, templates)
        if stage is not None:
            yield signal, stage, path


def _ended(journey: d.Journey, templates: TemplateInfos) -> dict[tuple[str, str], Path]:
    found: dict[tuple[str, str], Path] = {}
    for doing in actions_of(journey):
        stage = _stage(journey, doing.action, templates)
        if stage is None:
            continue
        name = runs_in(doing)
        milestone = journey.states[name].milestone if name in journey.states and name is not None else None
        if milestone is not None:
            found.setdefault((milestone, stage), ("states", name or "", "milestone"))
        for index, signal in enumerate(journey.goal.on if journey.goal else ()):
            found.setdefault((signal, stage), ("goal", "on", index))
    return found


def _stage(journey: d.Journey, action: Action, templates: TemplateInfos) -> str | None:
    """The stage that a message guides people through, if it guides at all."""
    if not isinstance(action, Send) or journey.priority_of(action) in WITHOUT_CONSENT:
        return None
    template = templates.get(action.send)
    return template.stage if template is not None else None
