"""HTTP client of the demonstration: publishes, sends events, advances its test clock, closes tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

CLOCK: Final = "demo"
BATCH: Final = 100
READY_SECONDS: Final = 120.0
"""Time within which the clock's driver must make progress; a killed worker is restarted within seconds."""
FIRST_LOOK_SECONDS, LAST_LOOK_SECONDS = 0.01, 0.25
"""Pauses between two reads of the clock, which take time from the worker: growing, since most days take less than a second."""
_CLOCK_PATH: Final = f"/v1/clocks/{CLOCK}"


class ClockNotReady(RuntimeError):
    """The test clock makes no progress. The operator's turn: the error names what does not end."""


class DemoApi:
    """The API of a running stack. All subjects are on one test clock."""

    def __init__(self, url: str, operator_key: str) -> None:
        headers = {"X-Tenure-Clock": CLOCK}
        self.http = httpx.AsyncClient(
            base_url=url, auth=(operator_key, ""), headers=headers, timeout=30, trust_env=False
        )
        self.accepted = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.aclose()

    async def publish(self, path: Path) -> None:
        """Publish a journey. Raises RuntimeError with every problem."""
        answer = await self.http.put(
            f"/v1/journeys/{path.stem}", content=path.read_bytes(), headers={"Content-Type": "application/yaml"}
        )
        if answer.status_code >= 400:
            raise RuntimeError(f"{path.stem} was not published: {answer.text}")

    async def create_clock(self, now: datetime) -> None:
        """Create the test clock."""
        (await self.http.put(_CLOCK_PATH, json={"now": now.isoformat()})).raise_for_status()

    async def advance(self, to: datetime) -> None:
        """Advance the test clock, and wait until it is ready. Raises ClockNotReady."""
        (await self.http.post(f"{_CLOCK_PATH}/advance", json={"to": to.isoformat()})).raise_for_status()
        await self.settle()

    async def settle(self) -> None:
        """Wait until everything accepted so far is decided. Raises ClockNotReady."""
        moved, deadline, pause = None, time.monotonic() + READY_SECONDS, FIRST_LOOK_SECONDS
        while True:
            clock = (await self.http.get(_CLOCK_PATH)).raise_for_status().json()
            if clock["status"] == "ready":
                return
            if clock["progressed_at"] != moved:
                moved, deadline = clock["progressed_at"], time.monotonic() + READY_SECONDS
            if time.monotonic() > deadline:
                raise ClockNotReady(f"no progress for {READY_SECONDS:.0f} s at {clock['now']}: {clock['error']}")
            await asyncio.sleep(pause)
            pause = min(pause * 1.3, LAST_LOOK_SECONDS)

    async def send(self, calls: Sequence[Mapping[str, Any]]) -> None:
        """Send Segment calls in batches, in order. Raises RuntimeError if one is quarantined."""
        for start in range(0, len(calls), BATCH):
            batch = list(calls[start : start + BATCH])
            answer = (await self.http.post("/v1/batch", json={"batch": batch})).raise_for_status()
            if answer.json().get("quarantined"):
                raise RuntimeError(f"the demonstration sent an event that fails the tracking plan: {answer.text}")
            self.accepted += len(batch)

    async def signal(self, kind: str, subject: str, name: str, identity: str, at: datetime, **data: Any) -> None:
        """Send one direct signal to a user or an account."""
        body = {"id": identity, "name": name, "data": data, "at": at.isoformat()}
        answer = await self.http.post(f"/v1/{kind}s/{quote(subject, safe='')}/signals", json=body)
        answer.raise_for_status()
        self.accepted += 1

    async def open_tasks(self) -> list[dict[str, Any]]:
        answer = (await self.http.get("/v1/tasks", params={"status": "open", "limit": 100})).raise_for_status()
        return list(answer.json()["items"])

    async def close_task(self, task: Mapping[str, Any], resolution: str) -> None:
        body = {"resolution": resolution, "by": "demo"}
        (await self.http.post(f"/v1/tasks/{task['id']}/close", json=body)).raise_for_status()
