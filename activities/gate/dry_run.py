"""What the gate would say to a message now, by its own read and `judge`; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from activities.dependencies import Dependencies
from activities.gate.evaluation import GatePass
from journeys.content.template_info import MissingFields
from journeys.decision.chart import Chart
from journeys.decision.occurrences import Facts
from journeys.gate.judge import channel_for
from journeys.gate.verdicts import RecipientContext, SendRequest, Verdict
from journeys.language.actions import Send
from journeys.whynot.obstacles import request_for
from store.database import Connection
from store.people import subjects
from store.people.test_clocks import now_for


@dataclass(frozen=True, slots=True)
class DryRunResult:
    """The verdict, and what it was made of. `now` is the person's clock's."""

    verdict: Verdict
    ask: SendRequest
    standing: RecipientContext
    facts: Facts
    now: datetime


def _nothing(_profile: Mapping[str, Any], _account: Mapping[str, Any], _channel: str) -> tuple[str, ...]:
    return ()


async def dry_run(
    deps: Dependencies,
    connection: Connection,
    person: str,
    chart: Chart,
    send: Send,
    run: str = "",
    about: str | None = None,
    lacks: MissingFields = _nothing,
) -> DryRunResult:
    """The verdict on this action for this person, if their journey asked for it now; their lock is held meanwhile.

    `about` is the account that an account's journey is about: they may be in several. `lacks` says what the template cannot
    do without: by profile, account and channel, which of it they do not have.
    """
    # Both at once, as whoever decides does: one after the other would be the other way round for some.
    keys = [person, about or await subjects.account_of(connection, person)]
    found = await subjects.lock_subjects(connection, [key for key in keys if key is not None])
    subject = found[person]
    account = found.get(about or subject.account_key or "")
    now = await now_for(connection, subject.clock)
    facts = {"profile": subject.profile, "account": account.profile if account is not None else {}}
    ask = request_for(chart, send, facts, now, run, about)
    weighing = GatePass(deps, connection, subject, found, now)
    standing = await weighing.known()
    channel = channel_for(deps.policy, ask, standing)[0] or send.via[0]
    lacking = lacks(facts["profile"], facts["account"], channel)
    ask = replace(ask, missing=tuple(sorted({*ask.missing, *lacking})))
    return DryRunResult(await weighing.would(ask), ask, standing, facts, now)
