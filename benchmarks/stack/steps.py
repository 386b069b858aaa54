"""Steps of a run of the crowd, applied to PostgreSQL without Temporal."""

from __future__ import annotations

from datetime import UTC, datetime

from activities.dependencies import Dependencies
from activities.steps.apply import StepTransaction
from benchmarks.stack.rig import CATALOG
from journeys.decision.compiler import artifact_of, load_chart
from journeys.decision.decide import decide
from journeys.decision.effects import SendMessage, effects_to_json, log_to_json
from journeys.decision.occurrences import Entered
from journeys.decision.state import RunState, state_to_json
from journeys.language.parsing import read_journey
from journeys.protocol import wire
from journeys.protocol.step_outcome import Applied
from store.database import Connection, Database
from store.definitions import publishing

PERSON = "u_c5"
RUN = f"journey/daily/{PERSON}/-/1"


class CrowdSteps:
    """The next step of one person's run: with a message for the gate, or by a timer that is due."""

    def __init__(self, deps: Dependencies) -> None:
        self.deps = deps
        self.text = (CATALOG / "journeys" / "daily.yaml").read_text("utf-8")
        journey, source = read_journey(self.text)
        assert journey is not None, source.problems
        self.artifact = artifact_of(journey, {})
        self.chart = load_chart(self.artifact)

    async def publish(self, database: Database) -> None:
        """Publish the journey of the crowd. Raises the database's errors."""
        await publishing.publish_definition(database, self.chart, self.artifact, self.text, "benchmarks")

    async def with_message(self, connection: Connection) -> None:
        """Apply a step that asks for a message in the app, which the gate decides."""
        await self._apply(connection, timer=False)

    async def of_due_timer(self, connection: Connection) -> None:
        """Apply the same step as a timer's: it is compared with the lane and the account before."""
        await self._apply(connection, timer=True)

    async def _apply(self, connection: Connection, *, timer: bool) -> None:
        now = datetime.now(UTC)
        decision = decide(self.chart, RunState(), Entered(now, "habit_begun", lane=PERSON, seq=1))
        message = SendMessage("tip", "education/first-value", ("in_app",), "living", 1, 1, now, "lifecycle")
        step = wire.StepInput(
            RUN, 2, self.chart.hash, state_to_json(decision.state), log_to_json(decision.log), effects_to_json((message,)),
            now.isoformat(), now.isoformat() if timer else None, timer,
        )  # fmt: skip
        applied = await StepTransaction(self.deps, connection, step).apply()
        assert isinstance(applied.outcome, Applied), applied.outcome
