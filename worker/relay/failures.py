"""Failures of deliveries: those that repeat for ever, and those that may pass."""

from __future__ import annotations

from typing import Final

from temporalio.service import RPCError, RPCStatusCode

FULL: Final = "signal events"
"""In Temporal's message for a run that has taken its 10,000 signals: it takes more once it continues as new."""
UNWRITABLE: Final = (TypeError, ValueError)
"""Errors of the data converter: the same row raises them again."""


class RunHasEnded(Exception):
    """The workflow of a run has ended, while its row is open."""

    def __init__(self, run: str) -> None:
        super().__init__(f"the workflow of {run} has ended")
        self.run = run


def permanent_refusal(error: Exception) -> str | None:
    """Why a delivery can never succeed, or None for a failure that may pass."""
    if isinstance(error, RPCError):
        is_refused = error.status is RPCStatusCode.INVALID_ARGUMENT and FULL not in error.message
        return f"Temporal refuses it: {error.message}" if is_refused else None
    return f"{type(error).__name__}: {error}" if isinstance(error, UNWRITABLE) else None
