"""What the gate would say to a message now, by its own read and `judge`; nothing is written."""

from __future__ import annotations

from activities.gate import Pass
from activities.house import House
from journeys import definition as d
from journeys.chart import Chart
from journeys.verdicts import Ask, Verdict
from store import subjects
from store.clocks import now_for
from store.database import Connection


async def would_say(house: House, connection: Connection, person: str, chart: Chart, send: d.Send) -> Verdict:
    """The verdict on this action for this person, if their journey asked for it now; their lock is held meanwhile."""
    found = await subjects.lock(connection, [person])
    subject = found[person]
    others = await subjects.lock(connection, [subject.account_key]) if subject.account_key else {}
    account = others.get(subject.account_key or "")
    now = await now_for(connection, subject.clock)
    name = d.action_name(send)
    ask = Ask(
        channels=send.via,
        topic=chart.spec.topic_of(send),
        priority=chart.spec.priority_of(send),
        at=now,
        missing=chart.missing(name, subject.profile, account.profile if account is not None else {}),
        journey=chart.key,
        template=send.send,
    )
    return await Pass(house, connection, subject, account, now).would(ask)
