"""Operators' pause and resume of a run, and the effects held meanwhile.

A paused run decides signals, goal and exits; its timers do not fire and its effects are held until it is resumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from journeys.decision.draft import RunDraft
from journeys.decision.effects import Effect, OpenedTask, effects_from_json, effects_to_json
from journeys.decision.held import Held, held_name, hold
from journeys.decision.occurrences import ResumeMode
from journeys.decision.timers import expire_timers, shift_timers

_OF_VISIT: Final = frozenset({"send", "task"})
"""Kinds of effects that end with the visit that requested them."""
_HELD: Final = "held while paused"
_WAITED: Final = "waiting for its step"


def pause(draft: RunDraft, by: str) -> None:
    """Pause an open run; one that is paused already stays as it is."""
    if draft.paused_at is None:
        draft.paused_at = draft.at
        draft.note("paused", draft.state, f"paused by {by or 'an operator'}")


def resume(draft: RunDraft, mode: ResumeMode, by: str) -> None:
    """End the pause and emit what was held, behind what waited before it (`RunDraft.emit`). `mode` decides about timers.

    `shift` adds the paused time to relative timers, `catch_up` leaves those due to fire now, `expire` drops them.
    """
    if draft.paused_at is None:
        return
    paused_at, draft.paused_at = draft.paused_at, None
    if mode == "shift":
        shift_timers(draft, paused_at)
    elif mode == "expire":
        expire_timers(draft)
    draft.note("resumed", draft.state, f"resumed by {by or 'an operator'} ({mode})")
    if mode == "shift":
        waiting = effects_from_json(list(draft.waiting))
        draft.waiting = tuple(effects_to_json(tuple(_shifted(draft, effect, paused_at) for effect in waiting)))
    # A run that was paused by an older version may hold thousands.
    (held, superseded), draft.held = hold((), draft.held), ()
    if superseded:
        draft.note(
            "held", draft.state, f"{len(superseded)} older effects withheld: newer ones of their actions were held"
        )
    for effect in effects_from_json(list(held)):
        draft.emit(_shifted(draft, effect, paused_at) if mode == "shift" else effect)


def _shifted(draft: RunDraft, effect: Effect, paused_at: datetime) -> Effect:
    """The effect, of a task with the time that the pause has taken from it, because it was not open meanwhile."""
    if not isinstance(effect, OpenedTask) or effect.due_at is None:
        return effect
    due = effect.due_at + (draft.at - max(effect.at, paused_at))
    draft.timers[f"t:{effect.action}"] = due
    return replace(effect, due_at=due)


def drop_undone_effects(draft: RunDraft, reason: str, state: str | None = None, visit: int | None = None) -> None:
    """Drop the held and waiting messages and tasks of one visit, or all effects without `state`, with a line for each."""
    draft.waiting = _without(draft, draft.waiting, _WAITED, reason, state, visit)
    draft.held = _without(draft, draft.held, _HELD, reason, state, visit)


def _without(draft: RunDraft, effects: Held, were: str, reason: str, state: str | None, visit: int | None) -> Held:
    kept = []
    for effect in effects:
        of_visit = effect["kind"] in _OF_VISIT and (effect.get("state"), effect.get("visit")) == (state, visit)
        if state is not None and not of_visit:
            kept.append(effect)
        else:
            _note_dropped(draft, effect, were, reason)
    return tuple(kept)


def emit_last_effects(draft: RunDraft, reason: str, *, keep_tasks: bool) -> None:
    """Emit all that waits for a step, as no step follows; messages and tasks that the run's end takes back are dropped."""
    waiting, draft.waiting = draft.waiting, ()
    for effect in waiting:
        is_kept = keep_tasks if effect["kind"] == "task" else effect["kind"] != "send" or bool(effect.get("stands"))
        if is_kept:
            draft.effects += effects_from_json([effect])
        else:
            _note_dropped(draft, effect, _WAITED, reason)


def _note_dropped(draft: RunDraft, effect: Mapping[str, Any], were: str, reason: str) -> None:
    about = held_name(effect)
    draft.note("held", about, f"{about}: {were}, and dropped: {reason}")
