"""Dry run of the gate for one message.

It writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from activities.dependencies import Dependencies
from activities.gate.snapshot import Recipient, read_context
from journeys.content.template_info import MissingFields
from journeys.decision.chart import Chart
from journeys.decision.occurrences import Facts
from journeys.gate.consent import channel_for
from journeys.gate.session import GateSession
from journeys.gate.verdicts import RecipientContext, SendRequest, Verdict
from journeys.language.actions import Send
from journeys.whynot.obstacles import request_for
from store.database import Connection
from store.people import subjects
from store.people.test_clocks import now_for


@dataclass(frozen=True, slots=True)
class DryRunResult:
    """The verdict, and its input. `now` is by the person's clock."""

    verdict: Verdict
    request: SendRequest
    context: RecipientContext
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
    """The verdict on this action for this person, if their journey requested it now; they are locked meanwhile.

    `about` is the account of an account's journey, because a person may be in several. `lacks` returns the fields that
    the template needs and cannot find: by profile, account and channel.
    """
    # Both at once, in key order like every other transaction, so that no two wait for each other.
    keys = [person, about or await subjects.account_of(connection, person)]
    locked = await subjects.lock_subjects(connection, [key for key in keys if key is not None])
    recipient = Recipient(locked[person], locked)
    now = await now_for(connection, recipient.person.clock)
    facts = {"profile": recipient.person.profile, "account": dict(recipient.account_fields(about))}
    context = await read_context(deps, connection, recipient, now)
    request = request_for(chart, send, facts, now, run, about)
    channel = channel_for(deps.policy, request, context)[0] or send.via[0]
    lacking = lacks(facts["profile"], facts["account"], channel)
    zone = recipient.zone(about, deps.policy.timezone) if about is not None else None
    request = replace(request, missing=tuple(sorted({*request.missing, *lacking})), zone=zone)
    plan = GateSession(deps.policy, context, now).decide([request], lambda _request, _channel: None)
    return DryRunResult(plan.decisions[0].verdict, request, context, facts, now)
