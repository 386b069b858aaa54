"""Operators' pause and resume of a run, and the effects held meanwhile.

A paused run decides signals, goal and exits; its timers do not fire and its effects are held until it is resumed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from journeys.decision.draft import RunDraft
from journeys.decision.effects import Effect, OpenedTask, effects_from_json
from journeys.decision.held import held_name, hold
from journeys.decision.occurrences import ResumeMode
from journeys.decision.timers import expire_timers, shift_timers

_OF_VISIT: Final = frozenset({"send", "task"})
"""Kinds of effects that end with the visit that requested them."""


def pause(draft: RunDraft, by: str) -> None:
    """Pause an open run; one that is paused already stays as it is."""
    if draft.paused_at is None:
        draft.paused_at = draft.at
        draft.note("paused", draft.state, f"paused by {by or 'an operator'}")


def resume(draft: RunDraft, mode: ResumeMode, by: str) -> None:
    """End the pause and emit what was held, in slices (`RunDraft.emit`). `mode` decides about timers.

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
    # A run that was paused by an older version may hold thousands.
    (held, superseded), draft.held = hold((), draft.held), ()
    if superseded:
        draft.note(
            "held", draft.state, f"{len(superseded)} older effects withheld: newer ones of their actions were held"
        )
    for effect in effects_from_json(list(held)):
        draft.emit(_shifted(draft, effect) if mode == "shift" else effect)


def _shifted(draft: RunDraft, effect: Effect) -> Effect:
    """The effect, with the whole time for a held task, because it was not open during the pause."""
    if not isinstance(effect, OpenedTask) or effect.due_at is None:
        return effect
    due = effect.due_at + (draft.at - effect.at)
    draft.timers[f"t:{effect.action}"] = due
    return replace(effect, due_at=due)


def drop_held_effects(draft: RunDraft, reason: str, state: str | None = None, visit: int | None = None) -> None:
    """Drop the held messages and tasks of one visit, or all effects without `state`, with a line in the log for each."""
    kept = []
    for effect in draft.held:
        of_visit = effect["kind"] in _OF_VISIT and (effect.get("state"), effect.get("visit")) == (state, visit)
        if state is not None and not of_visit:
            kept.append(effect)
        else:
            _note_dropped(draft, effect, reason)
    draft.held = tuple(kept)


def emit_last_effects(draft: RunDraft, reason: str, *, keep_tasks: bool) -> None:
    """Emit all that waits for a step, as no step follows; messages and tasks that the run's end takes back are dropped."""
    waiting, draft.held = draft.held, ()
    for effect in waiting:
        is_kept = keep_tasks if effect["kind"] == "task" else effect["kind"] != "send" or bool(effect.get("stands"))
        if is_kept:
            draft.effects += effects_from_json([effect])
        else:
            _note_dropped(draft, effect, reason)


def _note_dropped(draft: RunDraft, effect: dict[str, Any], reason: str) -> None:
    about = held_name(effect)
    waited = "waiting for its step" if draft.paused_at is None else "held while paused"
    draft.note("held", about, f"{about}: {waited}, and dropped: {reason}")
