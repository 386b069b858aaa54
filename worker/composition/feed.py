"""Feed push from settings: the receiver, and the secrets that sign its pages and batches."""

from __future__ import annotations

from base64 import b64decode

from activities.exports.feed_push import FeedPush, Receiver
from activities.outgoing.client import HttpClient
from activities.outgoing.standard_webhooks import WebhookSigner, signing
from activities.outgoing.url_policy import UrlNotAllowed, check_url
from store.database import Database
from worker.loops.feed_push import FeedLoop
from worker.provider_settings import ProviderSettings
from worker.settings import SettingsError

MARKS = (24, 64)
"""Bytes of a secret, at least and at most (Standard Webhooks 1.0.0)."""
_HOW = 'Give "whsec_$(openssl rand -base64 32)".'


def feed_loop(database: Database, given: ProviderSettings) -> FeedLoop:
    """The loop to the receiver that is configured. Raises SettingsError."""
    sign = feed_signing(given)
    if not given.feed_url:
        return FeedLoop(database, None)
    if sign is None:
        raise SettingsError(f"TENURE_FEED_URL is set without TENURE_FEED_SECRET: what is pushed is signed. {_HOW}")
    try:
        check_url(given.feed_url, given.allowed)
    except UrlNotAllowed as fault:
        raise SettingsError(f"TENURE_FEED_URL is not pushed to: {fault}") from None
    return FeedLoop(database, FeedPush(database, HttpClient(given.allowed), Receiver(given.feed_url, sign)))


def feed_signing(given: ProviderSettings) -> WebhookSigner | None:
    """What signs pages and batches; None where no secret is set. Raises SettingsError for one that cannot be read."""
    secrets = [each.strip() for each in given.feed_secret.get_secret_value().split(",") if each.strip()]
    try:
        for each in secrets:
            if not MARKS[0] <= len(b64decode(each.removeprefix("whsec_"), validate=True)) <= MARKS[1]:
                raise ValueError("of another length")
    except ValueError:
        raise SettingsError(f"TENURE_FEED_SECRET is no secret of Standard Webhooks. {_HOW}") from None
    return signing(*secrets) if secrets else None
