"""Statuses of a message, the transitions between them, and what each status means.

The table `TRANSITIONS` is the only list of what can happen to a message. The ledger writes no other transition
(`store/messages/ledger.py`), the database accepts no other status, and the diagram in `docs/messages.md` is drawn from it.

A message *in doubt* had an attempt whose result is unknown: it may have arrived. It never ends as if it had not been
sent, but as `unknown` (`final_status`), and it counts as sent while it waits (`counts`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

OutcomeName = Literal["sent", "withheld", "failed"]
"""The last part of the signal that reports a message's outcome to its run: `checklist.sent`."""
LastDecisionStatus = Literal["sent", "queued", "withheld"]
"""The last decision on a message, as why-not reports it."""


class Status(StrEnum):
    """The status of a message in the ledger."""

    DEFERRED = "deferred"
    """It waits until `due_at`, for its first attempt or for a retry."""
    SENDING = "sending"
    """An attempt is in flight until `lease_until`."""
    SENT = "sent"
    """Its provider has accepted it, or it is in the inbox."""
    FAILED = "failed"
    """It is known not to have arrived, and it is not tried again."""
    UNKNOWN = "unknown"
    """It may have arrived, and it is not tried again."""
    WITHHELD = "withheld"
    """The gate has decided that it never goes out."""
    WITHDRAWN = "withdrawn"
    """It was withdrawn while it waited."""
    MERGED = "merged"
    """It is a part of a digest, and ends as the digest ends."""
    REPLACED = "replaced"
    """A message of higher priority took its place."""


_S = Status

INITIAL: Final = frozenset({_S.DEFERRED, _S.SENDING, _S.SENT, _S.MERGED, _S.FAILED, _S.WITHHELD, _S.REPLACED})
"""The first status of a row: the gate's verdict on a new message."""

TRANSITIONS: Final[Mapping[Status, frozenset[Status]]] = {
    # The gate decides it again when it is due; a withdrawal or a message of higher priority ends it before.
    _S.DEFERRED: frozenset(Status),
    # An attempt ends (`activities/delivery/settlement.py`); one without a known result is decided again, in doubt.
    _S.SENDING: frozenset({_S.SENDING, _S.DEFERRED, _S.SENT, _S.FAILED, _S.UNKNOWN}),
    # Its digest ends, and it with it; if the digest surely did not arrive, each part is decided again.
    _S.MERGED: frozenset({_S.MERGED, _S.DEFERRED, _S.FAILED, _S.UNKNOWN}),
    # An operator resends it; the parts of a resent digest end as it ends.
    _S.UNKNOWN: frozenset({_S.DEFERRED, _S.MERGED, _S.UNKNOWN}),
    _S.FAILED: frozenset({_S.DEFERRED}),
    _S.SENT: frozenset(),
    _S.WITHHELD: frozenset(),
    _S.WITHDRAWN: frozenset(),
    _S.REPLACED: frozenset(),
}

UNSETTLED: Final = frozenset({_S.DEFERRED, _S.SENDING})
"""Statuses that change by time alone: the message falls due, or its lease expires."""
SETTLED: Final = frozenset({_S.SENT, _S.FAILED, _S.UNKNOWN, _S.WITHHELD, _S.WITHDRAWN, _S.REPLACED})
"""Statuses of messages that have ended. `merged` is in neither set: the part is settled with its digest."""
RESENDABLE: Final = frozenset({_S.FAILED, _S.UNKNOWN})
"""Statuses that an operator may resend."""
COUNTED: Final = frozenset({_S.SENDING, _S.SENT, _S.UNKNOWN, _S.MERGED})
"""Statuses that caps and cooldowns count as sent; messages in doubt that wait are counted as well."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """A status as a run's outcome signal, as the feed's verdict, and as the last decision of why-not."""

    outcome: OutcomeName | None
    verdict: str
    last_decision: LastDecisionStatus


MEANINGS: Final[Mapping[Status, Meaning]] = {
    _S.DEFERRED: Meaning(None, "defer", "queued"),
    _S.SENDING: Meaning(None, "send", "sent"),
    _S.SENT: Meaning("sent", "send", "sent"),
    _S.FAILED: Meaning("failed", "fail", "withheld"),
    _S.UNKNOWN: Meaning(None, "fail", "sent"),
    _S.WITHHELD: Meaning("withheld", "withhold", "withheld"),
    _S.WITHDRAWN: Meaning("withheld", "withdraw", "withheld"),
    _S.REPLACED: Meaning("withheld", "replace", "withheld"),
    _S.MERGED: Meaning(None, "merge", "sent"),
}


class TransitionForbidden(Exception):
    """A change of status that `TRANSITIONS` does not contain: a bug in Tenure."""


def check_transition(source: Status | None, target: Status) -> None:
    """Raise TransitionForbidden unless a message may go from `source` (None: it is new) to `target`."""
    if target not in (INITIAL if source is None else TRANSITIONS[source]):
        raise TransitionForbidden(f"{source or 'new'} -> {target}")


def sources_of(target: Status, among: Collection[Status] = frozenset(Status)) -> frozenset[Status]:
    """The statuses from which a message may become `target`."""
    return frozenset(source for source in among if target in TRANSITIONS[source])


def final_status(status: Status, *, in_doubt: bool) -> Status:
    """The final status of a message that would end as `status`: `unknown` if it is in doubt."""
    return Status.UNKNOWN if in_doubt else status


def counts(status: Status, *, in_doubt: bool) -> bool:
    """Whether caps and cooldowns count the message as sent."""
    return status in COUNTED or (status is Status.DEFERRED and in_doubt)


def state_diagram() -> str:
    """The table as a Mermaid state diagram."""
    begins = [f"    [*] --> {status}" for status in Status if status in INITIAL]
    moves = [f"    {source} --> {target}" for source in Status for target in Status if target in TRANSITIONS[source]]
    ends = [f"    {status} --> [*]" for status in Status if not TRANSITIONS[status]]
    return "\n".join(["stateDiagram-v2", *begins, *moves, *ends])
