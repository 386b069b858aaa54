"""HTTP client of the demonstration: publishes, sends events, moves its test clock, closes tasks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import quote

import httpx

CLOCK: Final = "demo"
BATCH: Final = 100


class DemoApi:
    """The API of a running stack. All subjects are on one test clock."""

    def __init__(self, url: str, write_key: str, operator_key: str) -> None:
        headers = {"X-Tenure-Clock": CLOCK}
        self.write = httpx.AsyncClient(base_url=url, auth=(write_key, ""), headers=headers, timeout=30, trust_env=False)
        self.operate = httpx.AsyncClient(base_url=url, auth=(operator_key, ""), timeout=30, trust_env=False)
        self.accepted = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.write.aclose()
        await self.operate.aclose()

    async def publish(self, path: Path) -> None:
        """Publish a journey. Raises RuntimeError with every problem."""
        answer = await self.operate.put(
            f"/v1/journeys/{path.stem}", content=path.read_bytes(), headers={"Content-Type": "application/yaml"}
        )
        if answer.status_code >= 400:
            raise RuntimeError(f"{path.stem} was not published: {answer.text}")

    async def set_clock(self, origin: datetime, speed: float, limit: datetime) -> datetime:
        """Create the test clock or move its limit; returns the real instant at which it started."""
        body = {"origin": origin.isoformat(), "speed": speed, "limit": limit.isoformat()}
        answer = (await self.operate.put(f"/v1/clocks/{CLOCK}", json=body)).raise_for_status()
        return datetime.fromisoformat(answer.json()["started_at"])

    async def send(self, calls: Sequence[Mapping[str, Any]]) -> None:
        """Send Segment calls in batches, in order. Raises RuntimeError if one is quarantined."""
        for start in range(0, len(calls), BATCH):
            batch = list(calls[start : start + BATCH])
            answer = (await self.write.post("/v1/batch", json={"batch": batch})).raise_for_status()
            if answer.json().get("quarantined"):
                raise RuntimeError(f"the demonstration sent an event that fails the tracking plan: {answer.text}")
            self.accepted += len(batch)

    async def signal(self, kind: str, subject: str, name: str, identity: str, at: datetime, **data: Any) -> None:
        """Send one direct signal to a user or an account."""
        body = {"id": identity, "name": name, "data": data, "at": at.isoformat()}
        answer = await self.write.post(f"/v1/{kind}s/{quote(subject, safe='')}/signals", json=body)
        answer.raise_for_status()
        self.accepted += 1

    async def ask_run(self, run: str) -> None:
        """Read the run's own state, which it answers once every signal before has become a step. An ended run answers 409."""
        answer = await self.operate.get(f"/v1/runs/{quote(run, safe='')}", params={"consistent": "true"})
        if answer.status_code not in {200, 409}:
            answer.raise_for_status()

    async def open_tasks(self) -> list[dict[str, Any]]:
        answer = (await self.operate.get("/v1/tasks", params={"status": "open", "limit": 100})).raise_for_status()
        return list(answer.json()["items"])

    async def close_task(self, task: Mapping[str, Any], resolution: str) -> None:
        body = {"resolution": resolution, "by": "demo"}
        (await self.operate.post(f"/v1/tasks/{task['id']}/close", json=body)).raise_for_status()
