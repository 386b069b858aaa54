"""What goes wrong, on demand: each fault is asked for by name and number of times, by a test or by hand (`POST /_faults`)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FaultKind = Literal["status", "hang", "hang_after_accept", "reset", "reset_after_accept", "slow", "garbage"]


class ProviderFault(BaseModel):
    """One fault. `provider` is the first part of the path (`*` is any); it happens `times` times, or for ever.

    `status` answers so and takes nothing, with `code` as the vendor's own and `retry_after` seconds; `hang` never answers; `reset`
    cuts the connection; `…_after_accept` takes the message first; `slow` answers after `seconds`; `garbage` takes it and
    answers 200 with a page of HTML. `to` limits it to requests that contain this text.
    """

    model_config = ConfigDict(extra="forbid")

    provider: str = "*"
    kind: FaultKind
    status: int = Field(500, ge=200, le=599)
    code: str = ""
    retry_after: int | None = Field(None, ge=0)
    seconds: float = Field(1.0, ge=0, le=600)
    times: int | None = Field(1, ge=1)
    to: str = ""


class ProviderFaults:
    """Those that are still to happen, the oldest first."""

    def __init__(self) -> None:
        self._left: list[ProviderFault] = []
        self.happened = 0
        """How often something went wrong: what reached this provider while it was down."""

    def add(self, fault: ProviderFault) -> None:
        self._left.append(fault.model_copy())

    def clear(self) -> None:
        self._left.clear()

    def shown(self) -> list[dict[str, object]]:
        return [fault.model_dump() for fault in self._left]

    def take(self, provider: str, body: bytes) -> ProviderFault | None:
        """The fault of this request, counted down."""
        for fault in self._left:
            if fault.provider in {"*", provider} and fault.to.encode() in body:
                self.happened += 1
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._left.remove(fault)
                return fault
        return None
