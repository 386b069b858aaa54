"""Years of renewal dates on the real server: anchors move with the date and repeat after it."""

from __future__ import annotations

from datetime import datetime, timedelta

from worker.settings import ROOT
from worker.testing.rehearsal import Rehearsal

RENEWAL = ROOT / "catalog" / "journeys" / "renewal-readiness.yaml"
VALUE, PLAN, TERMS = "renewal/value-report", "renewal/plan-together", "renewal/terms"


async def _account(stage: Rehearsal, renewal: datetime) -> None:
    await stage.publish(RENEWAL)
    for who, role in (("cleo", "champion"), ("adam", "admin")):
        await stage.identify(who, email=f"{who}@example.com", role=role)
        await stage.group(who, "acme", plan="team", renewal_date=renewal.isoformat())
    await stage.signal(None, "contract_started", account="acme")


async def _moved_to(stage: Rehearsal, renewal: datetime) -> None:
    await stage.group("cleo", "acme", renewal_date=renewal.isoformat())


async def _state(stage: Rehearsal) -> str:
    (run,) = await stage.runs()
    return str(run["state"])


async def test_windows_follow_a_renewal_date_that_moves_earlier_and_later(stage: Rehearsal) -> None:
    begin = stage.now
    await _account(stage, begin + timedelta(days=400))
    await stage.forward(days=219)
    assert await stage.sent() == []
    await stage.forward(days=2)
    assert await stage.sent("cleo") == [VALUE]

    await _moved_to(stage, begin + timedelta(days=330))  # earlier: its 120 days are past, its 90 days are not
    await stage.forward(days=20)
    assert await stage.sent("adam") == [TERMS]
    assert await _state(stage) == "securing"

    await stage.signal(None, "contract_renewed", account="acme")
    await _moved_to(stage, begin + timedelta(days=800))
    await _moved_to(stage, begin + timedelta(days=900))  # later, and later again before any window opens
    await stage.forward(begin + timedelta(days=715))
    assert await stage.sent("cleo") == [VALUE]
    await stage.forward(begin + timedelta(days=721))
    assert await stage.sent("cleo") == [VALUE, VALUE]
    await stage.forward(begin + timedelta(days=812))
    assert await stage.sent("cleo") == [VALUE, VALUE, PLAN]
    assert await stage.sent("adam") == [TERMS, PLAN, TERMS]


async def test_six_yearly_renewals_of_one_contract_send_each_window_once(stage: Rehearsal) -> None:
    begin = stage.now
    await _account(stage, begin + timedelta(days=365))
    for year in range(1, 7):
        await stage.forward(begin + timedelta(days=365 * year - 1))
        await stage.signal(None, "contract_renewed", account="acme")
        await _moved_to(stage, begin + timedelta(days=365 * (year + 1)))
    sent = await stage.sent()
    assert {name: sent.count(name) for name in (VALUE, PLAN, TERMS)} == {VALUE: 6, PLAN: 12, TERMS: 6}
    assert stage.mail.count() == len(sent)
    (run,) = await stage.runs()
    history = await stage.client.get_workflow_handle(run["id"]).fetch_history()
    assert len(history.events) < 200


async def test_an_anchor_fires_late_by_its_jitter_and_is_decided_at_its_instant(stage: Rehearsal) -> None:
    renewal = stage.now + timedelta(days=200)
    await _account(stage, renewal)
    await stage.forward(days=21)
    (message,) = await stage.messages("cleo")
    assert message["at"] == renewal - timedelta(days=180)
    assert timedelta(0) <= message["sent_at"] - message["at"] <= timedelta(minutes=31)
