"""Gate session: all messages of one person at one instant, decided as a plan.

Pure: the caller locks and reads, makes content, and writes the plan. The live gate, the dry run and the simulator drive
it.

Messages are decided one after another: by priority, then by when they were asked for (C6), then in the given order. Each
decision counts for the messages after it:

1. `judge` gives the verdict, from the policy and the person's context at that point of the pass.
2. Content is made before the next message is decided: a message that cannot be made takes no place under a cap and
   replaces none.
3. Queued messages of lower priority that wait for the same cooldown give way to it, even if it has to wait itself, but
   not longer than they (C6). They are not decided any more, even if they are in this pass.
4. A message that goes out counts as sent, and similar messages join it, at most `MAX_PARTS` in one (C4). A message that
   waits is in the queue.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Generic, TypeVar

from journeys.frozen import frozen
from journeys.gate.consent import channel_for
from journeys.gate.consolidation import MAX_PARTS, outranked_by
from journeys.gate.deferral import is_expected
from journeys.gate.judge import judge
from journeys.gate.policy import Policy
from journeys.gate.queue import QueuedMessage, ends_by_itself, order_of, rules_of_wait
from journeys.gate.status import Status
from journeys.gate.verdicts import (
    DeferUntil,
    MergeInto,
    Reason,
    RecipientContext,
    Replace,
    SendNow,
    SendRequest,
    SentMessage,
    Verdict,
    Withhold,
)

Content = TypeVar("Content")


@frozen
class CannotSend:
    """The message cannot be sent: the status it ends with, and why. `reasons` come before those of the verdict."""

    status: Status
    detail: str
    reasons: tuple[Reason, ...] = ()


CanBeMade = Callable[[SendRequest, str], Content | CannotSend]
"""Makes the content of a message for a channel. It has no side effects: the message may have to wait after all."""


@frozen
class GaveWay:
    """A queued message that ends because one of higher priority takes its place."""

    key: str
    verdict: Replace


@frozen
class MessageDecision(Generic[Content]):
    """The decision on one message. `content` is made if the verdict sends it, alone or in a digest.

    `sent` or `queued` is how it counts from now on. `ready_at`: since then it waits only for others to be sent with it.
    """

    request: SendRequest
    verdict: Verdict
    content: Content | CannotSend | None = None
    sent: SentMessage | None = None
    queued: QueuedMessage | None = None
    ready_at: datetime | None = None
    gave_way: tuple[GaveWay, ...] = ()


@frozen
class Plan(Generic[Content]):
    """The decisions of one pass, in the order in which they were made. A message that gave way before its turn has none.

    `together` has what goes out: each group is sent as one message, and its first decision is the head.
    """

    decisions: tuple[MessageDecision[Content], ...]
    together: tuple[tuple[MessageDecision[Content], ...], ...]


@frozen
class GateSession:
    """A pass over one person's messages at one instant; `context` is the person's before it."""

    policy: Policy
    context: RecipientContext
    now: datetime

    def decide(self, requests: Iterable[SendRequest], can_be_made: CanBeMade[Content]) -> Plan[Content]:
        """Decide these messages. Of those alike in priority and instant the first is decided first."""
        state: _PassState[Content] = _PassState(self.context)
        decisions = []
        for request in sorted(requests, key=_pressing_first):
            if request.key not in state.gave_way:
                decision = self._decide(request, state.context_for(request), can_be_made)
                state.add(decision)
                decisions.append(decision)
        return Plan(tuple(decisions), state.together())

    def _decide(
        self, request: SendRequest, context: RecipientContext, can_be_made: CanBeMade[Content]
    ) -> MessageDecision[Content]:
        verdict = judge(self.policy, request, context, self.now)
        match verdict:
            case SendNow(channel) | MergeInto(channel=channel):
                content = can_be_made(request, channel)
                if isinstance(content, CannotSend):
                    return MessageDecision(request, verdict, content)
                alone = isinstance(verdict, SendNow)
                gave_way = self._outranked(request, channel, context, self.now) if alone else ()
                return MessageDecision(
                    request, verdict, content, self._sent(request, channel, alone=alone), gave_way=gave_way
                )
            case DeferUntil():
                return self._defer(request, verdict, context, can_be_made)
            case Replace() | Withhold():
                return MessageDecision(request, verdict)

    def _defer(
        self,
        request: SendRequest,
        verdict: DeferUntil,
        context: RecipientContext,
        can_be_made: CanBeMade[Content],
    ) -> MessageDecision[Content]:
        """A message that waits replaces those of lower priority as well, if it goes and its content can be made now."""
        queued = _queued(request, verdict)
        waits_for_others = any(reason.code == "consolidating" for reason in verdict.reasons)
        ready_at = (request.ready_at or self.now) if waits_for_others else None
        channel = channel_for(self.policy, request, context)[0] or ""
        goes = is_expected(self.policy, queued)
        gave_way = self._outranked(request, channel, context, queued.due) if goes else ()
        if gave_way and isinstance(can_be_made(request, channel), CannotSend):
            gave_way = ()
        return MessageDecision(request, verdict, queued=queued, ready_at=ready_at, gave_way=gave_way)

    def _outranked(
        self, request: SendRequest, channel: str, context: RecipientContext, due: datetime
    ) -> tuple[GaveWay, ...]:
        """The queued messages that give way to this one, which goes at `due` (C6)."""
        keys = outranked_by(self.policy, request, context, channel, due, self.now) if context.queue else ()
        if not keys:
            return ()
        verdict = Replace(request.key, (Reason("replaced", f"{request.action} has a higher priority"),))
        return tuple(GaveWay(key, verdict) for key in keys)

    def _sent(self, request: SendRequest, channel: str, *, alone: bool) -> SentMessage:
        return SentMessage(
            self.now, channel, request.topic, request.priority, request.action, request.journey, request.template,
            request.account, request.key, is_part=not alone,
        )  # fmt: skip


class _PassState(Generic[Content]):
    """The context at one point of a pass: that before it, and the decisions since."""

    def __init__(self, context: RecipientContext) -> None:
        self._context, self._sent, self._queue = context, context.sent, context.queue
        self._going: dict[str, list[MessageDecision[Content]]] = {}
        self.gave_way: set[str] = set()

    def context_for(self, request: SendRequest) -> RecipientContext:
        """The context of the next message. An attempt that may have arrived is not counted against itself."""
        sent = self._sent
        if any(message.key == request.key for message in sent):
            sent = tuple(message for message in sent if message.key != request.key)
        if sent is self._context.sent and self._queue is self._context.queue:
            return self._context
        return replace(self._context, sent=sent, queue=self._queue, heads=self._open_heads())

    def add(self, decision: MessageDecision[Content]) -> None:
        """Count a decision for the messages after it."""
        key = decision.request.key
        ends = {key, *(gone.key for gone in decision.gave_way)}
        self.gave_way |= ends - {key}
        if self._queue:
            self._queue = tuple(message for message in self._queue if message.key not in ends)
        # A digest waits only if it may have arrived: no message joins it or gives way to it, and it gives way to none.
        if decision.queued is not None and not decision.request.is_digest:
            self._queue = (*self._queue, decision.queued)
        if decision.sent is not None:
            self._sent = (*(message for message in self._sent if message.key != key), decision.sent)
            head = decision.verdict.key if isinstance(decision.verdict, MergeInto) else key
            self._going.setdefault(head, []).append(decision)

    def together(self) -> tuple[tuple[MessageDecision[Content], ...], ...]:
        """The messages that go out, grouped by digest."""
        return tuple(tuple(parts) for parts in self._going.values())

    def _open_heads(self) -> frozenset[str]:
        """Keys of messages of this pass that others may join; one that may have arrived is sent alone."""
        return frozenset(
            key for key, parts in self._going.items() if len(parts) < MAX_PARTS and not parts[0].request.alone
        )


def _pressing_first(request: SendRequest) -> tuple[int, datetime]:
    """The order of a pass. The caller has ordered messages of one priority and instant: an author's order is kept."""
    return order_of(request)[:2]


def _queued(request: SendRequest, verdict: DeferUntil) -> QueuedMessage:
    return QueuedMessage(
        request.key, verdict.until, request.at, request.channels, request.topic, request.priority, request.action,
        request.journey, rules_of_wait((reason.code, reason.rule) for reason in verdict.reasons), request.expires_at,
        ends_by_itself(reason.code for reason in verdict.reasons) and not request.tried_by, request.number,
    )  # fmt: skip
