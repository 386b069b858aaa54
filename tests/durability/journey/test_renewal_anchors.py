"""Years of renewal dates on the real server: anchors move with the date and repeat after it."""

from __future__ import annotations

from datetime import datetime, timedelta

from tests.support.skipped_time import SkippedTime
from worker.settings import ROOT

RENEWAL = ROOT / "catalog" / "journeys" / "renewal-readiness.yaml"
VALUE, PLAN, TERMS = "renewal/value-report", "renewal/plan-together", "renewal/terms"


async def _account(skipped: SkippedTime, renewal: datetime) -> None:
    await skipped.publish(RENEWAL)
    for who, role in (("cleo", "champion"), ("adam", "admin")):
        await skipped.identify(who, email=f"{who}@example.com", role=role)
        await skipped.group(who, "acme", plan="team", renewal_date=renewal.isoformat())
    await skipped.signal(None, "contract_started", account="acme")


async def _moved_to(skipped: SkippedTime, renewal: datetime) -> None:
    await skipped.group("cleo", "acme", renewal_date=renewal.isoformat())


async def _state(skipped: SkippedTime) -> str:
    (run,) = await skipped.runs()
    return str(run["state"])


async def test_windows_follow_a_renewal_date_that_moves_earlier_and_later(skipped: SkippedTime) -> None:
    begin = skipped.now
    await _account(skipped, begin + timedelta(days=400))
    await skipped.forward(days=219)
    assert await skipped.sent() == []
    await skipped.forward(days=2)
    assert await skipped.sent("cleo") == [VALUE]

    await _moved_to(skipped, begin + timedelta(days=330))  # earlier: its 120 days are past, its 90 days are not
    await skipped.forward(days=20)
    assert await skipped.sent("adam") == [TERMS]
    assert await _state(skipped) == "securing"

    await skipped.signal(None, "contract_renewed", account="acme")
    await _moved_to(skipped, begin + timedelta(days=800))
    await _moved_to(skipped, begin + timedelta(days=900))  # later, and later again before any window opens
    await skipped.forward(begin + timedelta(days=715))
    assert await skipped.sent("cleo") == [VALUE]
    await skipped.forward(begin + timedelta(days=721))
    assert await skipped.sent("cleo") == [VALUE, VALUE]
    await skipped.forward(begin + timedelta(days=812))
    assert await skipped.sent("cleo") == [VALUE, VALUE, PLAN]
    assert await skipped.sent("adam") == [TERMS, PLAN, TERMS]


async def test_six_yearly_renewals_of_one_contract_send_each_window_once(skipped: SkippedTime) -> None:
    begin = skipped.now
    await _account(skipped, begin + timedelta(days=365))
    for year in range(1, 7):
        await skipped.forward(begin + timedelta(days=365 * year - 1))
        await skipped.signal(None, "contract_renewed", account="acme")
        await _moved_to(skipped, begin + timedelta(days=365 * (year + 1)))
    sent = await skipped.sent()
    assert {name: sent.count(name) for name in (VALUE, PLAN, TERMS)} == {VALUE: 6, PLAN: 12, TERMS: 6}
    assert skipped.mail.count() == len(sent)
    (run,) = await skipped.runs()
    history = await skipped.client.get_workflow_handle(run["id"]).fetch_history()
    assert len(history.events) < 200


async def test_an_anchor_fires_late_by_its_jitter_and_is_decided_at_its_instant(skipped: SkippedTime) -> None:
    renewal = skipped.now + timedelta(days=200)
    await _account(skipped, renewal)
    await skipped.forward(days=21)
    (message,) = await skipped.messages("cleo")
    assert message["at"] == renewal - timedelta(days=180)
    assert timedelta(0) <= message["sent_at"] - message["at"] <= timedelta(minutes=31)
