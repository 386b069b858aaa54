"""Years of renewal dates on the real server: windows move with the date, earlier and later, and open again after it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from worker.settings import ROOT
from worker.testing import Rehearsal

RENEWAL = ROOT / "catalog" / "journeys" / "renewal-readiness.yaml"


async def _account(stage: Rehearsal, renewal: datetime) -> None:
    await stage.publish(RENEWAL)
    await stage.identify("cleo", email="cleo@example.com", role="champion")
    await stage.group("cleo", "acme", plan="team", renewal_date=renewal.isoformat())
    await stage.identify("adam", email="adam@example.com", role="admin")
    await stage.group("adam", "acme")
    await stage.signal(None, "contract_started", account="acme")


def _day(days: float, since: datetime) -> datetime:
    return (since + timedelta(days=days)).astimezone(UTC)


async def test_windows_open_before_the_renewal_date_and_move_with_it_earlier_and_later(stage: Rehearsal) -> None:
    begin = stage.now
    await _account(stage, _day(400, begin))
    await stage.forward(days=230)
    assert await stage.sent("cleo") == ["renewal/value-report"]
    await stage.group("cleo", "acme", renewal_date=_day(330, begin).isoformat())  # earlier: the 120 days are past
    print(await stage.timeline())
    print(await stage.runs())
