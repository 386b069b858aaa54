"""Whether a person may be told something by a channel, by what they said and what the policy takes for granted (C5)."""

from __future__ import annotations

from collections.abc import Iterable

from journeys.decision.chart import Chart
from journeys.gate.policy import ConsentDefault, Policy
from journeys.gate.verdicts import ANY, Consents, Reason
from journeys.language.actions import PRESSING


def consent_refusal(
    policy: Policy, topic: str | None, priority: str, channel: str, consents: Consents
) -> Reason | None:
    """Why this person may not be told this by this channel, if so."""
    about = topic or ANY
    said = [consents.get(place) for place in _places(channel, about, general=priority not in PRESSING)]
    if False in said:
        return Reason("consent_withdrawn", f"they said no to {_what(about)} by {channel}")
    rule = _default(policy.consent, channel, about)
    if True in said or rule is None or rule.default == "granted" or priority in rule.exempt:
        return None
    return Reason("consent_required", f"they have not said yes to {_what(about)} by {channel}")


def refusals_by_all(
    policy: Policy, channels: Iterable[str], topic: str | None, priority: str, consents: Consents
) -> tuple[Reason, ...] | None:
    """Why nothing of this topic may be said by any of these channels; None while one remains."""
    refusals = [consent_refusal(policy, topic, priority, channel, consents) for channel in channels]
    reasons = tuple(reason for reason in refusals if reason is not None)
    return reasons if reasons and len(reasons) == len(refusals) else None


def has_opted_out(policy: Policy, chart: Chart, consents: Consents) -> bool:
    """Whether no channel of a journey's topic is left to this person: then an opt-out ends their run (C5).

    A message with another topic neither keeps a run going nor ends it: withholding it is the gate's. A journey that
    says nothing under its own topic is about those of its messages. Each counts with its own priority, so what may
    still be said as transactional keeps the run.
    """
    own = [way for way in chart.ways if way[0] == chart.spec.topic] or chart.ways
    refusals = [consent_refusal(policy, topic, priority, channel, consents) for topic, priority, channel in own]
    return any(reason and reason.code == "consent_withdrawn" for reason in refusals) and all(refusals)


def _places(channel: str, topic: str, *, general: bool) -> tuple[tuple[str, str], ...]:
    """Where this person may have said yes or no to it: the topic's own places, then the general ones."""
    own = ((channel, topic), (ANY, topic)) if topic != ANY else ()
    return (*own, (channel, ANY), (ANY, ANY)) if general else own


def _default(rules: tuple[ConsentDefault, ...], channel: str, topic: str) -> ConsentDefault | None:
    fitting = [rule for rule in rules if rule.channel in (None, channel) and rule.topic in (None, topic)]
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    return max(fitting, key=lambda rule: (rule.topic is not None, rule.channel is not None))


def _what(topic: str) -> str:
    return "messages" if topic == ANY else topic
