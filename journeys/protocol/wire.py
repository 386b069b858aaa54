"""Names and shapes that cross processes. Moving a file never breaks a run in flight, because names live here."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote, unquote

VERSION: Final = 1

JOURNEY_WORKFLOW: Final = "JourneyWorkflow"
OUTREACH_WORKFLOW: Final = "OutreachWorkflow"
TASK_QUEUE: Final = "tenure"

SIGNAL_EVENT: Final = "tenure.event"
SIGNAL_WAKE: Final = "tenure.wake"
SIGNAL_NUDGE: Final = "tenure.nudge"
RESERVED: Final = "tenure."

UPDATE_PAUSE: Final = "pause"
UPDATE_RESUME: Final = "resume"
UPDATE_CANCEL: Final = "cancel"
QUERY_STATE: Final = "state"
QUERY_EXPLAIN: Final = "explain"

LOAD_DEFINITION: Final = "tenure.load_definition"
APPLY_STEP: Final = "tenure.apply_step"
ACCEPT_PLAIN: Final = "tenure.accept_plain"
SETTLE_DUE: Final = "tenure.settle_due"

LOOK_AGAIN: Final = timedelta(milliseconds=250)
"""How soon a timer asks a held test clock again, at the least."""

SOURCE_TEMPORAL: Final = "temporal"
SOURCE_SELF: Final = "tenure"
SOURCE_OPERATOR: Final = "operator"

REPLIED: Final = "message_replied"
"""The event that somebody has answered a message: its run is quiet until `CLOSED`."""
CLOSED: Final = "conversation_closed"


def play_signal(journey: str) -> str:
    """The event by which a person starts a journey by hand: accepted like any other, so a backtest meets it too."""
    return f"play:{journey}"


def channel_queue(task_queue: str, channel: str) -> str:
    """The queue of a channel that is not quick enough to be tried inside a step."""
    return f"{task_queue}-{channel}"


def run_id(journey: str, subject_key: str, case: str, epoch: int) -> str:
    """`journey/{key}/{subject_key}/{case or -}/{epoch}`, percent-encoded: also the Temporal workflow id (design §4)."""
    encoded = "%2D" if case == "-" else quote(case, safe="") or "-"
    return f"journey/{journey}/{quote(subject_key, safe='')}/{encoded}/{epoch}"


def outreach_id(subject_key: str) -> str:
    """The workflow that owns what is deferred or must be retried for one person."""
    return f"outreach/{quote(subject_key, safe='')}"


def run_parts(identity: str) -> tuple[str, str, str, int]:
    """The inverse of `run_id`: journey, subject key, case, epoch. Raises ValueError if it is not one."""
    kind, journey, subject, case, epoch = identity.split("/")
    if kind != "journey":
        raise ValueError(f"{identity!r} is not the id of a journey's run")
    return journey, unquote(subject), "" if case == "-" else unquote(case), int(epoch)


@dataclass(slots=True)
class ClockSpec:
    """A test clock: virtual instant = origin + (real - started) * speed, never past the store's limit."""

    id: str
    origin: str
    started: str
    speed: float


@dataclass(frozen=True, slots=True)
class LoadInput:
    """What a run asks for at its first moment; with the `seqs` that it has decided if it goes on from another."""

    definition: str
    run: str = ""
    seqs: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class LoadResult:
    """What a run knows from its first moment: its definition, and by channel the queue of those too slow to try in a step.

    `behind` was accepted for it, and told to the one before it or not yet.
    """

    artifact: str
    queues: dict[str, str] = field(default_factory=dict)
    behind: list[Envelope] = field(default_factory=list)


RESUMES: Final = {"resumes": True}


@dataclass(slots=True)
class RunInput:
    """What starts a run; `carried` is the state that crosses continue-as-new.

    `RESUMES` says that its row is older than this workflow, because Temporal has lost the one before: it begins by asking
    the store what stands and what was accepted since.
    """

    run: str
    definition: str
    subject_kind: str
    subject_key: str
    entered_at: str
    clock: ClockSpec | None = None
    carried: dict[str, Any] | None = None


@dataclass(slots=True)
class Envelope:
    """One accepted occurrence on its way to one run: `tenure.event`. `seq` counts within `lane`, the recipient.

    `kind` is `entered`, `signal`, `facts`, `deadline`, `opted_out`, `merged` or `erased`. `data` has only the fields that the definition reads;
    `facts` is the whole set of known read fields per scope (`profile`, `account`) as of the event's commit; `seen` says
    how far other lanes were then, for facts that came from them.
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
    """One decision on its way to the world; keyed by `run` and `step`, so applying it twice is applying it once.

    `timer` is the due instant of a timer's step: it asks for the comparison of `state.seqs` with the recipients' in the
    store and for the test clock's consent. `now` is the workflow's own clock, used only where a deployment says so.
    """

    run: str
    step: int
    definition: str
    state: dict[str, Any]
    log: list[dict[str, Any]]
    effects: list[dict[str, Any]]
    now: str
    timer: str | None = None
    tombstones: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class StepResult:
    """`behind` holds accepted occurrences that must be decided before this timer; then nothing was applied.

    `early_until` is the real instant to try again at, when a held test clock has not reached the due date yet; `held_at` is
    where that clock stands.
    `committed` is the run's state as of `step`, when a worker committed that, and perhaps something else, and died.
    `waited` are the seconds since it was first asked for, if it was tried again for longer than a task waits.
    """

    behind: list[Envelope] = field(default_factory=list)
    early_until: str | None = None
    held_at: str | None = None
    committed: dict[str, Any] | None = None
    step: int = 0
    waited: int = 0


@dataclass(slots=True)
class PlainSignal:
    """A signal that did not come through the front door (`temporal workflow signal`); its step stores it.

    `seqs` is how far the run has decided: what was accepted since comes back first, in order, then this signal.
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
    """What starts a person's outreach."""

    subject_key: str
    clock: ClockSpec | None = None


@dataclass(slots=True)
class SettleInput:
    """Settle what is due for a person now; `now` is only used where the deployment's clock is the workflow's."""

    subject_key: str
    now: str


@dataclass(slots=True)
class SettleResult:
    """The real instant of the next due message, or None when nothing is left.

    With a `queue` nothing was done: a channel that is too slow for a local activity is needed, and that is its queue.
    """

    next_due: str | None = None
    queue: str | None = None
