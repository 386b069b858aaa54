"""Checks of public signals and fields: they decide no offer and no urgent task.

Anybody can read a public key and send with it what the tracking plan marks `public: true`. Offers are messages of the
priority `promotional`; urgent tasks are those of a journey of the priority `urgent_support`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from journeys.checks.context import CheckContext
from journeys.language.actions import Send, Task, action_name
from journeys.language.conditions import fields_in
from journeys.language.problems import Path, Problem
from journeys.language.traversal import ActionSite, Reaction


@dataclass(frozen=True, slots=True)
class PublicInput:
    """A public signal or field by its place; `name` is the one that decides."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class _Decision:
    """Inputs that alone decide a transition: `states` can be reached by it without any further signal.

    `transition` is its path, whose own actions it decides too; None for the entry, from which the journey's own timers run.
    """

    inputs: tuple[PublicInput, ...]
    states: frozenset[str]
    transition: Path | None

    def leads_to(self, site: ActionSite) -> bool:
        """Whether an action follows from the transition, at once or by timers."""
        if self.transition is not None and site.path[: len(self.transition)] == self.transition:
            return True
        if site.reaction is None:
            return site.state in self.states
        by_time = site.reaction.trigger != "on"
        return by_time and (site.state in self.states or (site.state is None and self.transition is None))


def check_public_inputs(context: CheckContext) -> Iterator[Problem]:
    """All offers and urgent tasks that a public signal or field decides."""
    decisions = tuple(_decisions(context))
    for site in context.actions:
        what = _protected(context, site)
        if what is None:
            continue
        inputs = [*_own_inputs(context, site)]
        inputs += [item for decision in decisions if decision.leads_to(site) for item in decision.inputs]
        for item in dict.fromkeys(inputs):
            text = f"{item.name} is public, and decides the {what} {action_name(site.action)}"
            yield context.problem("T534", item.path, text)


def _protected(context: CheckContext, site: ActionSite) -> str | None:
    """What an action is, if nobody outside may decide it."""
    match site.action:
        case Send() if context.journey.priority_of(site.action) == "promotional":
            return "offer"
        case Task() if context.journey.priority == "urgent_support":
            return "urgent task"
        case _:
            return None


def _own_inputs(context: CheckContext, site: ActionSite) -> Iterator[PublicInput]:
    """The public fields in an action's own condition and data."""
    for path, expression in context.expressions.items():
        if path[: len(site.path)] == site.path:
            yield from _fields(context, path, expression.source)


def _decisions(context: CheckContext) -> Iterator[_Decision]:
    """The entry and every transition that public signals or fields decide."""
    entry = context.journey.entry
    inputs = [item for n, name in enumerate(entry.on) for item in _signal(context, ("entry", "on", n), name)]
    inputs += _fields(context, ("entry", "when"), entry.when)
    if inputs:
        yield _Decision(tuple(inputs), _reached(context, context.journey.start, at_entry=True), None)
    for reaction in context.reactions:
        for path, transition in reaction.each_transition():
            inputs = list(_signal(context, path, reaction.key)) if reaction.trigger == "on" else []
            inputs += _fields(context, (*path, "when"), transition.when)
            if inputs:
                yield _Decision(tuple(inputs), _reached(context, transition.to, at_entry=False), path)


def _signal(context: CheckContext, path: Path, name: str) -> Iterator[PublicInput]:
    planned = context.plan.signals.get(name)
    if planned is not None and planned.public:
        yield PublicInput(path, name)


def _fields(context: CheckContext, path: Path, source: str | None) -> Iterator[PublicInput]:
    for name in fields_in(source) if source is not None else ():
        scope, _, field = name.partition(".")
        planned = context.plan.profile.get(field) if scope == "profile" else None
        if planned is not None and planned.public:
            yield PublicInput(path, name)


def _reached(context: CheckContext, start: str | None, *, at_entry: bool) -> frozenset[str]:
    """The states that a run comes to from `start` by timers alone; at entry also by the journey's own."""
    reached = {start} if start is not None else set[str]()

    def runs(reaction: Reaction) -> bool:
        return reaction.state in reached or (reaction.state is None and at_entry)

    while True:
        timers = [reaction for reaction in context.reactions if reaction.trigger != "on" and runs(reaction)]
        more = {
            transition.to for reaction in timers for transition in reaction.transitions if transition.to is not None
        }
        if more <= reached:
            return frozenset(reached)
        reached |= more
