"""Reminder mails from settings: the mail channel without links."""

from __future__ import annotations

from journeys.tasks.assignment import Roster
from worker.composition.channels import configured_channels
from worker.loops.reminder_mail import DueSoon, ReminderMail
from worker.provider_settings import ProviderSettings
from worker.settings import Settings


def reminder_mail(settings: Settings, providers: ProviderSettings, roster: Roster) -> ReminderMail:
    """The mail channel of the settings, without the parts for customers: tracked links, unsubscribe, reply address."""
    plain = settings.model_copy(update={"public_url": None, "link_base": None, "reply_address": None})
    return ReminderMail(configured_channels(plain, providers, DueSoon()).get("email"), roster)
