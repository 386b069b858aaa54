"""What the gate would say to a message now, by its own read and `judge`; nothing is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from activities.gate import Pass
from activities.house import House
from journeys import definition as d
from journeys.chart import Chart
from journeys.occurrences import Facts
from journeys.verdicts import Ask, Standing, Verdict
from journeys.whynot import ask_for
from store import subjects
from store.clocks import now_for
from store.database import Connection


@dataclass(frozen=True, slots=True)
class Would:
    """The verdict, and what it was made of. `now` is the person's clock's."""

    verdict: Verdict
    ask: Ask
    standing: Standing
    facts: Facts
    now: datetime


async def would_say(
    house: House,
    connection: Connection,
    person: str,
    chart: Chart,
    send: d.Send,
    run: str = "",
    about: str | None = None,
) -> Would:
    """The verdict on this action for this person, if their journey asked for it now; their lock is held meanwhile.

    `about` is the account that an account's journey is about: they may be in several.
    """
    # Both at once, as whoever decides does: one after the other would be the other way round for some.
    keys = [person, about or await subjects.account_of(connection, person)]
    found = await subjects.lock(connection, [key for key in keys if key is not None])
    subject = found[person]
    account = found.get(about or subject.account_key or "")
    now = await now_for(connection, subject.clock)
    facts = {"profile": subject.profile, "account": account.profile if account is not None else {}}
    ask = ask_for(chart, send, facts, now, run, about)
    weighing = Pass(house, connection, subject, account, now)
    return Would(await weighing.would(ask), ask, await weighing.known(), facts, now)
