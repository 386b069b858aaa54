"""Contender that signals every event of a person to one workflow."""

from __future__ import annotations

from typing import Any

from temporalio import workflow


@workflow.defn
class SignalAll:
    """A person as an entity workflow: every event of the person is a signal, whether it matters or not."""

    def __init__(self) -> None:
        self.pending: list[dict[str, Any]] = []
        self.seen = 0
        self.steps = 0

    @workflow.run
    async def run(self) -> int:
        """Take each event; nearly none changes anything."""
        while True:
            await workflow.wait_condition(lambda: bool(self.pending))
            for event in self.pending:
                self.seen += 1
                self.steps += event["event"] == "day_used"
            self.pending.clear()

    @workflow.signal
    def happened(self, event: dict[str, Any]) -> None:
        """One event."""
        self.pending.append(event)

    @workflow.query
    def count(self) -> int:
        """Number of events taken."""
        return self.seen
