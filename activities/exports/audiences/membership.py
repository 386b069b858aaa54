"""Membership rule of audiences: wanted people and their hashes, pure.

Hashes are SHA-256 in hexadecimal of the address in lower case, as Google's Data Manager and Meta's customer lists specify; for
Google, Gmail addresses also lose dots and everything after a plus.
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
    """An audience of `audiences.yaml`: its ids on the platforms, the stage (`profile.stage`) and topic of its ads."""

    stage: Name | None = None
    topic: Name | None = None
    google: Text | None = None
    meta: Text | None = None
    description: Text | None = None

    def identity(self, platform: str) -> str | None:
        """Its id on a platform; None if it is not there."""
        return {"google": self.google, "meta": self.meta}.get(platform)


class AudiencePlans(Model):
    """The file `audiences.yaml`."""

    audiences: dict[Name, AudiencePlan] = Field(default_factory=dict)


def wanted_hash(membership: AudienceMembership, plan: AudiencePlan, platform: str, policy: Policy) -> str:
    """The hash under which a person belongs in an audience; empty if they do not belong in it.

    A person does not belong in it after a journey took them out, without consent or an address, or unless they are known to be in
    the stage of its ads (H7, H8).
    """
    fits = plan.stage is None or membership.stage == plan.stage
    belongs = membership.member and fits and not is_excluded(membership, plan, policy)
    return hashed_address(membership.email, platform) if belongs else ""


def is_excluded(membership: AudienceMembership, plan: AudiencePlan, policy: Policy) -> bool:
    """Whether no ad may be shown to the person (C5): the address is suppressed, or there is an opt-out.

    An opt-out of ads (`audience`), of the topic or of everything counts, and one of mails of the topic, because the platforms get
    the mail address. A missing consent to mails does not; the policy may require consent to ads.
    """
    if membership.suppressed:
        return True
    by_mail = consent_refusal(policy, plan.topic, "promotional", "email", membership.consents)
    return consent_refusal(policy, plan.topic, "promotional", ADS, membership.consents) is not None or (
        by_mail is not None and by_mail.code == "consent_withdrawn"
    )


def hashed_address(email: str | None, platform: str) -> str:
    """Hash of an address as a platform expects it; empty for an invalid address."""
    address = mail_address(email)
    if address is None:
        return ""
    local, _, domain = address.lower().rpartition("@")
    if platform == "google" and domain in _GMAIL:
        local = local.partition("+")[0].replace(".", "")
    return hashlib.sha256(f"{local}@{domain}".encode()).hexdigest()


def membership_changes(
    memberships: Mapping[str, AudienceMembership], plan: AudiencePlan, platform: str, policy: Policy
) -> tuple[dict[str, str], dict[str, str]]:
    """Hashes to remove and hashes to add, by person. A changed address is in both; a kill switch prevents additions."""
    removed, added = {}, {}
    for subject, membership in memberships.items():
        wanted = wanted_hash(membership, plan, platform, policy)
        current = membership.hashed if membership.in_tool else ""
        if current and current != wanted:
            removed[subject] = current
        if wanted and current != wanted and not membership.stopped:
            added[subject] = wanted
    return removed, added
