"""How mails leave the house: by Resend where it is set, else by the relay; with their links, and signed."""

from __future__ import annotations

from datetime import timedelta
from email.utils import parseaddr
from typing import TYPE_CHECKING

from activities.channels.email.relay_settings import SmtpRelay
from activities.channels.email.resend import ResendChannel, ResendSettings
from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.channels.http.channel import Reach
from activities.content.templates import Templates
from activities.content.tracked_links import ClickLinks
from activities.outgoing.client import HttpClient
from activities.ports import Ambiguity, Channel
from worker.provider_settings import ProviderSettings
from worker.settings import PREFIX, Settings, SettingsError, is_loopback
from worker.stack.maildir import find_mails

if TYPE_CHECKING:
    from activities.channels.email.dkim import DkimKey

NEAR_ATTEMPT, FAR_ATTEMPT = timedelta(seconds=1.5), timedelta(seconds=30)
"""How long one mail may take: inside a step, and on the channel's own queue."""


def mail_channel(settings: Settings, templates: Templates, given: ProviderSettings) -> EmailChannel | ResendChannel:
    """What mails go by: Resend where it is set, else the relay. Raises SettingsError where neither is."""
    return mail_by_resend(settings, templates, given) or mail_by_relay(settings, templates, given)


def mail_by_relay(settings: Settings, templates: Templates, given: ProviderSettings) -> EmailChannel:
    """Mail by the relay of the settings."""
    if settings.smtp_url is None:
        raise SettingsError(
            "TENURE_SMTP_URL is not set: give a relay, or TENURE_RESEND_KEY for mail by Resend, or run `make up`"
        )
    lookup = settings.smtp_lookup
    name, address = parseaddr(settings.smtp_from)
    return EmailChannel(
        templates,
        EmailSettings(
            relay=SmtpRelay.from_url(settings.smtp_url),
            sender=(name, address),
            domain=address.rpartition("@")[2],
            links=settings.links if settings.public_url else None,
            postal=settings.postal_address,
            ambiguity=Ambiguity(settings.smtp_ambiguity),
            local=settings.smtp_near,
            attempt=NEAR_ATTEMPT if settings.smtp_near else FAR_ATTEMPT,
            clicks=tracked_links(settings),
            dkim=dkim_key(settings, given),
            replies=settings.replies,
        ),
        search=(lambda reference: find_mails(lookup, reference).count > 0) if lookup is not None else None,
    )


def mail_by_resend(settings: Settings, templates: Templates, given: ProviderSettings) -> ResendChannel | None:
    """Mail by Resend, if that is configured."""
    if not given.resend_key:
        return None
    it = ResendSettings(
        given.resend_key.get_secret_value(),
        parseaddr(settings.smtp_from),
        given.resend_base,
        settings.links if settings.public_url else None,
        settings.postal_address,
        settings.replies,
    )
    reach = Reach(near=given.providers_near, clicks=tracked_links(settings))
    return ResendChannel(templates, HttpClient(given.allowed), reach, it)


def is_sink(settings: Settings, mails: Channel) -> bool:
    """Whether mails reach nobody: they go to a relay of this machine's own, and lie in a Maildir of ours.

    The channel that was made decides: the settings of a relay say nothing of mails that go by another way.
    """
    if not isinstance(mails, EmailChannel) or settings.smtp_url is None or settings.smtp_lookup is None:
        return False
    return is_loopback(SmtpRelay.from_url(settings.smtp_url).host)


def tracked_links(settings: Settings) -> ClickLinks | None:
    """What makes and reads links that tell of clicks; None where no address is given for them."""
    base = settings.link_base or settings.public_url
    return ClickLinks(settings.link_secrets, base, settings.public_url) if base is not None else None


def dkim_key(settings: Settings, given: ProviderSettings) -> DkimKey | None:
    """The key with which mails over SMTP are signed. Raises SettingsError for one that cannot sign."""
    if given.dkim_key_file is None:
        return None
    from activities.channels.email.dkim import DkimKey  # noqa: PLC0415 — start-up time: it loads cryptography

    domain = parseaddr(settings.smtp_from)[1].rpartition("@")[2]
    try:
        return DkimKey(domain, given.dkim_selector, given.dkim_key_file.read_text())
    except (ValueError, OSError) as fault:
        raise SettingsError(f"{PREFIX}DKIM_KEY_FILE: {fault}") from fault
