"""Channel of a message by address, suppression and consent; complete opt-outs (C5)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol

from journeys.decision.chart import Chart
from journeys.gate.policy import ConsentDefault, Policy
from journeys.gate.verdicts import ANY, ChannelAddress, Consents, ConsentScope, Reason, RecipientContext
from journeys.language.actions import PRESSING

SUPPRESSED: Final[Mapping[str, str]] = {
    "hard_bounce": "a message to it bounced",
    "soft_bounces": "several messages to it bounced",
    "complaint": "the recipient complained about a message",
    "stop_word": "the recipient replied with an opt-out keyword",
    "operator": "an operator suppressed it",
}
"""Why nothing is sent to an address, in words, by the reason of its suppression."""


class Addressed(Protocol):
    """What decides on the channel of a message."""

    @property
    def allowed_channels(self) -> tuple[str, ...]: ...
    @property
    def consent_topics(self) -> tuple[str | None, ...]: ...
    @property
    def priority(self) -> str: ...


def channel_for(policy: Policy, message: Addressed, context: RecipientContext) -> tuple[str | None, tuple[Reason, ...]]:
    """The first channel with an address and consent, and the reasons against those before it."""
    passed_over: list[Reason] = []
    for channel in message.allowed_channels:
        refusal = _refusal(policy, message, context, channel)
        if refusal is None:
            return channel, tuple(passed_over)
        passed_over.append(refusal)
    return None, tuple(passed_over) or (Reason("no_address", "the message names no channel"),)


def _refusal(policy: Policy, message: Addressed, context: RecipientContext, channel: str) -> Reason | None:
    if context.channels is not None and channel not in context.channels:
        return Reason("no_address", f"no provider is configured for {channel}", about=ChannelAddress(channel))
    if not context.addresses.get(channel, False):
        return Reason("no_address", f"the person has no address for {channel}", about=ChannelAddress(channel))
    if channel in context.suppressed:
        cause = context.suppressed[channel]
        text = f"the address for {channel} is suppressed: {SUPPRESSED.get(cause, cause)}"
        return Reason("suppressed", text, about=ChannelAddress(channel))
    for topic in message.consent_topics:
        refusal = consent_refusal(policy, topic, message.priority, channel, context.consents)
        if refusal is not None:
            return refusal
    return None


def consent_refusal(
    policy: Policy, topic: str | None, priority: str, channel: str, consents: Consents
) -> Reason | None:
    """The reason why consent forbids this topic by this channel, or None."""
    about = topic or ANY
    scopes = _scopes(channel, about, general=priority not in PRESSING) if consents else ()
    withdrawn = next((scope for scope in scopes if consents.get(scope) is False), None)
    if withdrawn is not None:
        text = f"the person opted out of {_topic_text(about)} by {channel}"
        return Reason("consent_withdrawn", text, about=ConsentScope(*withdrawn))
    rule = _default(policy, channel, about)
    granted = any(consents.get(scope) for scope in scopes)
    if granted or rule is None or rule.default == "granted" or priority in rule.exempt:
        return None
    text = f"the person has not opted in to {_topic_text(about)} by {channel}"
    return Reason("consent_required", text, about=ConsentScope(channel, about))


def refusals_by_all(
    policy: Policy, channels: Iterable[str], topic: str | None, priority: str, consents: Consents
) -> tuple[Reason, ...] | None:
    """The reasons why consent forbids a topic by all these channels; None if one remains."""
    refusals = [consent_refusal(policy, topic, priority, channel, consents) for channel in channels]
    reasons = tuple(reason for reason in refusals if reason is not None)
    return reasons if reasons and len(reasons) == len(refusals) else None


def has_opted_out(policy: Policy, chart: Chart, consents: Consents) -> bool:
    """Whether the person has opted out of every channel of a journey's topic, which ends their run (C5).

    A message of another topic neither keeps a run open nor ends it: the gate withholds it. Where no message has the
    journey's own topic, the topics of its messages count. Each message counts with its own priority, so one that may
    still be sent as transactional keeps the run open.
    """
    own = [route for route in chart.routes if route[0] == chart.spec.topic] or chart.routes
    refusals = [consent_refusal(policy, topic, priority, channel, consents) for topic, priority, channel in own]
    return any(reason and reason.code == "consent_withdrawn" for reason in refusals) and all(refusals)


def _scopes(channel: str, topic: str, *, general: bool) -> tuple[tuple[str, str], ...]:
    """The consents that cover a channel and topic, the nearest first: the topic's own, then the `general` ones."""
    own = ((channel, topic), (ANY, topic)) if topic != ANY else ()
    return (*own, (channel, ANY), (ANY, ANY)) if general else own


def _default(policy: Policy, channel: str, topic: str) -> ConsentDefault | None:
    key = ("consent", channel, topic)
    if key not in policy.memo:
        fitting = [rule for rule in policy.consent if rule.channel in (None, channel) and rule.topic in (None, topic)]
        policy.memo[key] = max(
            fitting, key=lambda rule: (rule.topic is not None, rule.channel is not None), default=None
        )
    default: ConsentDefault | None = policy.memo[key]
    return default


def _topic_text(topic: str) -> str:
    return "messages" if topic == ANY else topic
