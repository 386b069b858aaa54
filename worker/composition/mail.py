"""Mail channel from settings: Resend or an SMTP relay."""

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
from worker.setting_values import is_loopback
from worker.settings import PREFIX, Settings, SettingsError
from worker.stack.maildir import find_mails

if TYPE_CHECKING:
    from activities.channels.email.dkim import DkimKey

NEAR_ATTEMPT, FAR_ATTEMPT = timedelta(seconds=1.5), timedelta(seconds=30)
"""Time of one attempt: inside a step, and on the channel's own queue."""


def mail_channel(settings: Settings, templates: Templates, providers: ProviderSettings) -> EmailChannel | ResendChannel:
    """The channel for mails. Raises SettingsError if neither Resend nor a relay is configured."""
    return resend_channel(settings, templates, providers) or smtp_channel(settings, templates, providers)


def smtp_channel(settings: Settings, templates: Templates, providers: ProviderSettings) -> EmailChannel:
    """Mail over SMTP. With a Maildir to search it is class B, else class C. Raises SettingsError."""
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
            dkim=dkim_key(settings, providers),
            replies=settings.replies,
        ),
        search=(lambda reference: find_mails(lookup, reference).count > 0) if lookup is not None else None,
    )


def resend_channel(settings: Settings, templates: Templates, providers: ProviderSettings) -> ResendChannel | None:
    """Mail by Resend, if it is configured."""
    if not providers.resend_key:
        return None
    resend = ResendSettings(
        providers.resend_key.get_secret_value(),
        parseaddr(settings.smtp_from),
        providers.resend_base,
        settings.links if settings.public_url else None,
        settings.postal_address,
        settings.replies,
    )
    reach = Reach(near=providers.providers_near, clicks=tracked_links(settings))
    return ResendChannel(templates, HttpClient(providers.allowed), reach, resend)


def is_sink(settings: Settings, mail: Channel) -> bool:
    """Whether mails reach nobody: they go to a relay on this machine that keeps them in a Maildir.

    The channel decides, not the settings alone: with Resend, mails do not go to the relay that is set.
    """
    if not isinstance(mail, EmailChannel) or settings.smtp_url is None or settings.smtp_lookup is None:
        return False
    return is_loopback(SmtpRelay.from_url(settings.smtp_url).host)


def tracked_links(settings: Settings) -> ClickLinks | None:
    """Makes and reads tracked links; None where no address for them is set."""
    base = settings.link_base or settings.public_url
    return ClickLinks(settings.link_secrets, base, settings.public_url) if base is not None else None


def dkim_key(settings: Settings, providers: ProviderSettings) -> DkimKey | None:
    """The DKIM key for mails over SMTP, if one is set. Raises SettingsError for a key that cannot sign."""
    if providers.dkim_key_file is None:
        return None
    from activities.channels.email.dkim import DkimKey  # noqa: PLC0415 — start-up time: it loads cryptography

    domain = parseaddr(settings.smtp_from)[1].rpartition("@")[2]
    try:
        return DkimKey(domain, providers.dkim_selector, providers.dkim_key_file.read_text())
    except (ValueError, OSError) as error:
        raise SettingsError(f"{PREFIX}DKIM_KEY_FILE: {error}") from error
