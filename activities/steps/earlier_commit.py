"""Steps committed by a worker that died before Temporal knew of it."""

from __future__ import annotations

import structlog

from journeys.decision.state import RunState, state_to_json
from journeys.protocol import wire
from journeys.protocol.step_outcome import AlreadyCommitted, Applied
from store.database import Connection
from store.messages.entries import recipients_in_flight
from store.outbox import queue as outbox
from store.runs import projection

log = structlog.get_logger()


async def committed_before(connection: Connection, step: wire.StepInput, state: RunState) -> Applied | AlreadyCommitted:
    """The outcome of such a step. Its attempts in flight are taken over by the outreaches of their recipients.

    The second decision may differ: signals that came in between are read before a timer that had fired already. The
    committed step stays; the run adopts its state, and decides on it what it does not contain.
    """
    for recipient in await recipients_in_flight(connection, step.run, step.step):
        await outbox.wake_outreach(connection, recipient)
    stands, memory = await projection.committed_state(connection, step.run)
    if stands == step.step and memory == state_to_json(state):
        return Applied()
    log.info("step.committed_before", step=step.step, stands=stands)
    return AlreadyCommitted(stands, memory)
