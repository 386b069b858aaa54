"""Reader of the why-not answer's input: runs, facts, gate context, past decisions.

A run is explained by its own version of the journey, entry by the live version. An account's journey gives one question for
each account of the person.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from journeys.consent.statements import ADDRESS_FIELDS
from journeys.content.template_info import MissingFields
from journeys.decision.chart import Chart
from journeys.decision.occurrences import Facts
from journeys.gate.verdicts import RecipientContext, SendRequest, Verdict
from journeys.language.actions import Send, action_name
from journeys.whynot.gate_obstacles import GateFacts
from journeys.whynot.obstacles import sends_of
from journeys.whynot.person_view import PersonView
from store.consent.requests import pending_confirmations
from store.database import Connection
from store.definitions.registry import DefinitionRegistry
from store.people import subjects
from store.people.test_clocks import now_for
from store.reads import people as queries
from store.reads import whynot

ChartOfAccount = tuple[Chart, str | None]
"""A journey, and the account's key if it is an account's journey."""


class GateAnswer(Protocol):
    """The gate's verdict on a message requested now, and its inputs. `now` is by the person's clock."""

    @property
    def verdict(self) -> Verdict: ...
    @property
    def request(self) -> SendRequest: ...
    @property
    def context(self) -> RecipientContext: ...
    @property
    def facts(self) -> Facts: ...
    @property
    def now(self) -> datetime: ...


DryRun = Callable[[Connection, str, Chart, Send, str, str | None, MissingFields], Awaitable[GateAnswer]]
"""The gate's answer for a person's key, chart, action, run, account and missing fields. Writes nothing."""


@dataclass(frozen=True, slots=True)
class Question:
    """Input of why-not for one journey and account. `account` is its id; `verdicts` are the gate's, by action, now."""

    chart: Chart
    account: str | None
    template: str
    person: PersonView
    now: datetime
    verdicts: Sequence[tuple[Send, Verdict]]


@dataclass(frozen=True, slots=True)
class QuestionReader:
    """Reads the questions about one person and one template, in one transaction."""

    dry_run: DryRun
    catalogue: DefinitionRegistry
    connection: Connection
    person: queries.SubjectKeys
    keys: list[str]
    accounts: list[str]
    template: str
    missing_fields: MissingFields

    async def questions(self, refused: tuple[str, datetime | None] | None) -> list[Question]:
        """One for each journey that may send the template. `refused`: why its content may not be sent, and since when."""
        charts = await self._charts()
        # Take all locks at once: one by one, the dry runs below would take them in another order than the gate.
        await subjects.lock_subjects(self.connection, {self.person.key, *self.accounts} if charts else ())
        facts = await self._gate_facts(refused) if charts else GateFacts()
        return [await self._question(chart, account, facts) for chart, account in charts]

    async def _charts(self) -> list[ChartOfAccount]:
        """The charts of the person's open runs that send the template; otherwise the live ones, which may be entered."""
        index = await self.catalogue.current(self.connection)
        charts: dict[tuple[str, str | None], Chart] = {}
        for definition, lane in await whynot.open_definitions(self.connection, [*self.keys, *self.accounts]):
            chart = await self.catalogue.readable(self.connection, definition)
            if chart is not None and sends_of(chart, self.template):
                charts[chart.key, lane if lane in self.accounts else None] = chart
        for chart in index.live:
            if sends_of(chart, self.template):
                for account in self._accounts_of(chart):
                    charts.setdefault((chart.key, account), chart)
        return [(charts[key], key[1]) for key in sorted(charts, key=self._order)]

    def _accounts_of(self, chart: Chart) -> Sequence[str | None]:
        return self.accounts if chart.spec.subject == "account" and self.accounts else [None]

    def _order(self, key: tuple[str, str | None]) -> tuple[str, int]:
        journey, account = key
        return journey, self.accounts.index(account) if account is not None else -1

    async def _question(self, chart: Chart, account: str | None, facts: GateFacts) -> Question:
        connection, lanes = self.connection, [account] if account is not None else self.keys
        runs = await whynot.runs_of(connection, lanes, chart.key)
        run = next((past.run for past in runs if past.is_open and past.definition == chart.hash), "")
        answers = [
            (send, await self.dry_run(connection, self.person.key, chart, send, run, account, self.missing_fields))
            for send in sends_of(chart, self.template)
        ]
        first = answers[0][1]
        person = PersonView(
            runs,
            first.facts,
            first.context,
            facts,
            await whynot.last_events(connection, lanes, [*chart.spec.entry.on, *sorted(chart.looked_back)]),
            await whynot.last_decisions(connection, self.keys, self.template, on_clock=self.person.clock is not None),
            account,
            {action_name(send): answer.request.missing for send, answer in answers},
        )
        verdicts = [(send, answer.verdict) for send, answer in answers]
        account_id = await queries.account_id(connection, account)
        return Question(chart, account_id, self.template, person, first.now, verdicts)

    async def _gate_facts(self, refused: tuple[str, datetime | None] | None) -> GateFacts:
        values = {channel: self.person.profile.get(field) for channel, field in ADDRESS_FIELDS.items()}
        addresses = {channel: value for channel, value in values.items() if isinstance(value, str) and value}
        now, hashes = await now_for(self.connection, self.person.clock), self.catalogue.consent.addresses
        since = await whynot.since_when(
            self.connection, self.person.key, self.person.account_key, hashes, addresses, now
        )
        tickets = [fact[1] for fact in since if fact[0] == "ticket"]
        requests = await pending_confirmations(self.connection, self.person.key, now)
        # Of two requests for one channel and topic the first gives the time.
        pending = {(request["channel"], request["topic"]): request["at"] for request in reversed(requests)}
        if refused is None:
            return GateFacts(since, tickets, pending=pending)
        fault, at = refused
        if at is not None:
            since |= {("content", self.template): at}
        return GateFacts(since, tickets, {self.template: fault}, pending)
