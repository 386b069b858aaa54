"""Names and shapes that cross processes.

They are defined here only, so that moving a file never breaks a run in flight. Recorded histories contain them: a field
may be added with a default; no field may change its name or meaning.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args
from urllib.parse import quote

VERSION: Final = 1

JOURNEY_WORKFLOW: Final = "JourneyWorkflow"
OUTREACH_WORKFLOW: Final = "OutreachWorkflow"
PROBE_WORKFLOW: Final = "ProbeWorkflow"
TASK_QUEUE: Final = "tenure"

SIGNAL_EVENT: Final = "tenure.event"
SIGNAL_WAKE: Final = "tenure.wake"
SIGNAL_NUDGE: Final = "tenure.nudge"
SIGNAL_TICK: Final = "tenure.tick"
"""The deadline `{"due": …}` of a run on a test clock has come. The step compares it with the clock in the store."""

UPDATE_PAUSE: Final = "pause"
UPDATE_RESUME: Final = "resume"
UPDATE_CANCEL: Final = "cancel"
QUERY_STATE: Final = "state"
QUERY_EXPLAIN: Final = "explain"

LOAD_DEFINITION: Final = "tenure.load_definition"
READ_UNDECIDED: Final = "tenure.read_undecided"
APPLY_STEP: Final = "tenure.apply_step"
ACCEPT_PLAIN: Final = "tenure.accept_plain"
SETTLE_DUE: Final = "tenure.settle_due"
READ_CLOCK: Final = "tenure.read_clock"

SOURCE_TEMPORAL: Final = "temporal"
SOURCE_SELF: Final = "tenure"
SOURCE_OPERATOR: Final = "operator"


def channel_queue(task_queue: str, channel: str) -> str:
    """The task queue of a channel that is too slow for an attempt inside a step."""
    return f"{task_queue}-{channel}"


def run_id(journey: str, subject_key: str, case: str, epoch: int) -> str:
    """`journey/{key}/{subject_key}/{hash of the case, or -}/{epoch}`, the Temporal workflow id: at most 200 bytes.

    The case itself is in the run's row. Runs that were opened before have the case itself in their ids, and keep them.
    """
    digest = hashlib.sha256(case.encode("utf-8", "surrogatepass")).hexdigest()[:32] if case else "-"
    return f"journey/{journey}/{quote(subject_key, safe='')}/{digest}/{epoch}"


def outreach_id(subject_key: str) -> str:
    """The id of the workflow that owns one person's deferred messages and retries."""
    return f"outreach/{quote(subject_key, safe='')}"


@dataclass(frozen=True, slots=True)
class LoadInput:
    """A run's first request, or one for its undecided rows; `seqs` are those that it has decided, by lane."""

    definition: str
    run: str = ""
    seqs: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class LoadResult:
    """The run's definition, and the queues of slow channels by channel.

    `behind` was accepted for the run after its `seqs`, whether or not the previous workflow received it.
    """

    artifact: str
    queues: dict[str, str] = field(default_factory=dict)
    behind: list[Envelope] = field(default_factory=list)


RESUMES: Final = {"resumes": True}


@dataclass(slots=True)
class RunInput:
    """The input of a run's workflow; `carried` is what crosses continue-as-new.

    `clock` is the id of the run's test clock. On one it arms no timer: ticks (`SIGNAL_TICK`) signal its deadlines.
    `carried` is `RESUMES` if Temporal has lost the previous workflow: this one begins with the last step in the store
    and with what was accepted since.
    """

    run: str
    definition: str
    subject_kind: str
    subject_key: str
    entered_at: str
    clock: str | None = None
    carried: dict[str, Any] | None = None


OccurrenceKind = Literal["entered", "signal", "facts", "deadline", "opted_out", "merged", "erased"]
KINDS: Final = frozenset(get_args(OccurrenceKind))
"""Kinds of occurrences that this version knows. A row or envelope of another one is parked for a newer version."""


@dataclass(slots=True)
class Envelope:
    """One accepted occurrence on its way to one run: `tenure.event`. `seq` counts within `lane`, the recipient.

    - `kind` is one of `KINDS`.
    - `data` has only the properties that the definition reads.
    - `facts` has, by scope (`profile`, `account`), all known fields that it reads, as of its place in the lane.
    - `seen` is not written any more. Histories from before record 15 have in it the last `seq` of another lane whose facts
      came along.
    """

    id: str
    lane: str
    seq: int
    at: str
    kind: str = "signal"
    name: str = ""
    data: dict[str, Any] = field(default_factory=dict)
    facts: dict[str, dict[str, Any]] | None = None
    seen: dict[str, int] = field(default_factory=dict)
    v: int = VERSION


@dataclass(slots=True)
class StepInput:
    """One decision to apply. `run` and `step` are its key: applied twice, it has one effect.

    `timer` is the instant of a timer or a command. With it the activity compares `state.seqs` with the lanes in the
    store, and the instant with the run's test clock. `is_deadline`: the instant is a timer's, and one in the future is
    refused. `now` is the workflow's clock.
    """

    run: str
    step: int
    definition: str
    state: dict[str, Any]
    log: list[dict[str, Any]]
    effects: list[dict[str, Any]]
    now: str
    timer: str | None = None
    is_deadline: bool = False
    tombstones: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class StepResult:
    """The outcome of a step, flat, as recorded histories contain it; `step_outcome.outcome_of` reads it.

    `behind` belongs to `Behind`, `early_until` and `held_at` to `TooEarly`, `committed` and `step` to
    `AlreadyCommitted`; without any the step was applied. `waited` are the seconds since the step was first requested,
    if the workflow task waited for it.
    """

    behind: list[Envelope] = field(default_factory=list)
    early_until: str | None = None
    held_at: str | None = None
    committed: dict[str, Any] | None = None
    step: int = 0
    waited: int = 0


@dataclass(slots=True)
class PlainSignal:
    """A signal that did not come through the API (`temporal workflow signal`), to be stored.

    `seqs` are the last that the run has decided, by lane. The result is what was accepted since, in order, then this
    signal.
    """

    run: str
    definition: str
    id: str
    name: str
    data: dict[str, Any]
    seqs: dict[str, int]
    now: str


@dataclass(slots=True)
class OutreachInput:
    """The input of a person's outreach workflow."""

    subject_key: str


@dataclass(slots=True)
class SettleInput:
    """A request to settle a person's due messages; `now` is the workflow's clock.

    On a test clock the driver names the number of the due `message`; without it only unfinished attempts are settled.
    """

    subject_key: str
    now: str
    message: int | None = None


@dataclass(slots=True)
class SettleResult:
    """The real instant to settle again; None if nothing is left, or if the driver of a test clock decides when.

    With a `queue` nothing was done: a message may go by a channel too slow for a local activity; this is its queue.
    """

    next_due: str | None = None
    queue: str | None = None
