"""Reminder mails from settings: the mail channel without tracked links, unsubscribe links and reply addresses."""

from __future__ import annotations

from journeys.tasks.assignment import Roster
from worker.composition.channels import configured_channels
from worker.loops.reminder_mail import DueSoon, ReminderMail
from worker.provider_settings import ProviderSettings
from worker.settings import Settings


def reminder_mail(settings: Settings, given: ProviderSettings, roster: Roster) -> ReminderMail:
    """By the mail channel of the settings, without what customers' mails have: clicks that are heard of, a way out, marks."""
    plain = settings.model_copy(update={"public_url": None, "link_base": None, "reply_address": None})
    return ReminderMail(configured_channels(plain, given, DueSoon()).get("email"), roster, settings.public_url)
