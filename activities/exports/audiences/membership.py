"""Membership rule of audiences: wanted people and their hashes, pure.

Hashes as Google's Data Manager and Meta's customer lists ask for them: SHA-256 in hexadecimal of the address, trimmed and in small
letters; for Google's own mail also without dots and what follows a plus, where the tool is Google's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from activities.channels.email.message import mail_address
from journeys.gate.consent import consent_refusal
from journeys.gate.policy import ADS, Policy
from journeys.language.actions import Model, Name, Text
from store.exports.audiences import AudienceMembership

AdPlatformName = Literal["google", "meta"]
_GMAIL = frozenset({"gmail.com", "googlemail.com"})


class AudiencePlan(Model):
    """One audience of `catalog/audiences.yaml`: the tools' own ids, the stage that its ads fit (`profile.stage`), their topic."""

    stage: Name | None = None
    topic: Name | None = None
    google: Text | None = None
    meta: Text | None = None
    description: Text | None = None

    def identity(self, tool: str) -> str | None:
        """What the tool calls it; None if it is not there."""
        return {"google": self.google, "meta": self.meta}.get(tool)


class AudiencePlans(Model):
    """The file."""

    audiences: dict[Name, AudiencePlan] = Field(default_factory=dict)


def wanted_members(place: AudienceMembership, plan: AudiencePlan, tool: str, policy: Policy) -> str:
    """The hash under which a person is to be in; empty if they are not.

    Out is who the journey took out, who may not be told it, who has no address, and who is not known to be in the stage that
    the ads fit: an ad for a stage that they have left is what a message for it would be (H7), and unknown is not yes (H8).
    """
    fits = plan.stage is None or place.stage == plan.stage
    return hashed_address(place.email, tool) if place.member and fits and not is_excluded(place, plan, policy) else ""


def is_excluded(place: AudienceMembership, plan: AudiencePlan, policy: Policy) -> bool:
    """Whether no ad may follow them (C5): their address is suppressed, or they have said no.

    A no to ads (`audience`), to the ads' topic or to everything counts, and so does one to mails of the topic: their address
    is what the tools are given. Whoever has only not said yes to mails has refused no ad; the policy may ask for a yes to ads.
    """
    if place.suppressed:
        return True
    by_mail = consent_refusal(policy, plan.topic, "promotional", "email", place.said)
    return consent_refusal(policy, plan.topic, "promotional", ADS, place.said) is not None or (
        by_mail is not None and by_mail.code == "consent_withdrawn"
    )


def hashed_address(email: str | None, tool: str) -> str:
    """An address as a tool knows it, or nothing for what is none."""
    address = mail_address(email)
    if address is None:
        return ""
    local, _, domain = address.lower().rpartition("@")
    if tool == "google" and domain in _GMAIL:
        local = local.partition("+")[0].replace(".", "")
    return hashlib.sha256(f"{local}@{domain}".encode()).hexdigest()


def membership_changes(
    places: Mapping[str, AudienceMembership], plan: AudiencePlan, tool: str, policy: Policy
) -> tuple[dict[str, str], dict[str, str]]:
    """By person: the hashes to take out, and those to put in. Who has another address is both; a stop adds nobody."""
    out, into = {}, {}
    for subject, place in places.items():
        now, then = wanted_members(place, plan, tool, policy), place.hashed if place.told else ""
        if then and then != now:
            out[subject] = then
        if now and then != now and not place.stopped:
            into[subject] = now
    return out, into
