"""Effects that a paused run holds: the newest of each action.

A run may be paused for months while signals arrive, and its state crosses processes with each step. So what it holds is
bounded by its chart. Steps take it in slices (`RunDraft.emit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Held = tuple[dict[str, Any], ...]
"""Effects as JSON, in the order in which they were asked for."""


def hold(held: Held, effects: Sequence[dict[str, Any]]) -> tuple[Held, Held]:
    """What is held with these effects, and what they supersede: an older one of the same action, or of the same item of it."""
    newest: dict[tuple[Any, ...], dict[str, Any]] = {}
    superseded = []
    for effect in (*held, *effects):
        older = newest.pop(_action_of(effect), None)
        if older is not None:
            superseded.append(older)
        newest[_action_of(effect)] = effect
    return tuple(newest.values()), tuple(superseded)


def without_opening(effects: Held, action: str) -> Held:
    """The effects without the opening of an action's task."""
    return tuple(effect for effect in effects if (effect["kind"], effect.get("action")) != ("task", action))


def held_name(effect: Mapping[str, Any]) -> str:
    """The name under which the log shows a held effect."""
    return str(effect.get("name") or effect.get("action") or effect.get("audience") or effect["kind"])


def _action_of(effect: Mapping[str, Any]) -> tuple[Any, ...]:
    """The state and action of an effect, of any visit, and of an emitted signal its place in the state and in `for_each`."""
    if effect["kind"] == "emit" and not effect.get("action"):
        return ("emit", effect["key"])  # recorded by an older version, without its action
    places = (
        effect.get("state"),
        effect.get("action"),
        effect.get("nth", 0),
        effect.get("audience"),
        effect.get("item"),
    )
    return (effect["kind"], *places)
