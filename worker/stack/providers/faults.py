"""Faults of the local provider, queued by tests or by `POST /_faults`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

FaultKind = Literal["status", "hang", "hang_after_accept", "reset", "reset_after_accept", "slow", "garbage"]


class ProviderFault(BaseModel):
    """One fault of `provider` (`*` is any), `times` times or for ever, for requests that contain the text `to`.

    - `status`: answers with `status`, the vendor's `code` and `Retry-After`; accepts nothing
    - `hang`: never answers
    - `reset`: cuts the connection
    - `hang_after_accept`, `reset_after_accept`: the same, after accepting the item
    - `slow`: answers after `seconds`
    - `garbage`: accepts the item, and answers 200 with a page of HTML
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
    """The queued faults, oldest first."""

    def __init__(self) -> None:
        self._queued: list[ProviderFault] = []
        self.happened = 0
        """Requests that met a fault."""

    def add(self, fault: ProviderFault) -> None:
        self._queued.append(fault.model_copy())

    def clear(self) -> None:
        self._queued.clear()

    def shown(self) -> list[dict[str, object]]:
        return [fault.model_dump() for fault in self._queued]

    def take(self, provider: str, body: bytes) -> ProviderFault | None:
        """The fault for this request, if any; counts it down."""
        for fault in self._queued:
            if fault.provider in {"*", provider} and fault.to.encode() in body:
                self.happened += 1
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._queued.remove(fault)
                return fault
        return None
