"""What a run waits for and what would end it, in sentences; the same text for queries, the console and the simulator."""

from __future__ import annotations

from journeys.decision.chart import Chart
from journeys.decision.state import RunState


def describe_run(chart: Chart, state: RunState) -> list[str]:
    """Where the run is, what it waits for and until when. Empty before it has entered."""
    if not state.state:
        return []
    if state.outcome is not None:
        return [f"ended: {state.outcome}"]
    place = chart.places[state.state]
    lines = [f"in {state.state} since {state.entered_at:%Y-%m-%d %H:%M} UTC, visit {state.visit}"]
    if state.paused_at is not None:
        lines.append(f"paused since {state.paused_at:%Y-%m-%d %H:%M} UTC: it listens, timers stand, effects are held")
    lines.extend(f"waits for {name}" for name in sorted({*place.on, *chart.everywhere.on}))
    for name, due in sorted(state.timers.items(), key=lambda item: item[1]):
        label = name if name == "goal" or name.startswith("t:") else chart.timers[_where(state, name)].label
        lines.append(f"{label}: due {due:%Y-%m-%d %H:%M} UTC")
    lines.extend(f"task {name} is open with {task.owner}" for name, task in state.tasks.items())
    lines.extend(f"ends as reached on {stop.on}" for stop in chart.goal)
    lines.extend(f"ends as exited on {stop.on}" for stop in chart.exits)
    return lines


def _where(state: RunState, timer: str) -> tuple[str, str]:
    return (state.state if timer.startswith("s:") else "", timer)
