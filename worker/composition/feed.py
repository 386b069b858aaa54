"""Feed push from settings: receiver and signing secrets."""

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

SECRET_BYTES = range(24, 65)
"""Sizes that a secret may have (Standard Webhooks 1.0.0)."""
_FIX = 'Give "whsec_$(openssl rand -base64 32)".'


def feed_loop(database: Database, providers: ProviderSettings) -> FeedLoop:
    """The loop that pushes to the configured receiver; without one it ends at once. Raises SettingsError."""
    sign = feed_signing(providers)
    if not providers.feed_url:
        return FeedLoop(database, None)
    if sign is None:
        raise SettingsError(f"TENURE_FEED_URL is set without TENURE_FEED_SECRET, which signs pushed batches. {_FIX}")
    try:
        check_url(providers.feed_url, providers.allowed)
    except UrlNotAllowed as error:
        raise SettingsError(f"TENURE_FEED_URL is not allowed: {error}") from None
    return FeedLoop(database, FeedPush(database, HttpClient(providers.allowed), Receiver(providers.feed_url, sign)))


def feed_signing(providers: ProviderSettings) -> WebhookSigner | None:
    """Signs pages and batches; None where no secret is set. Raises SettingsError for one of the wrong form."""
    secrets = [text.strip() for text in providers.feed_secret.get_secret_value().split(",") if text.strip()]
    try:
        for secret in secrets:
            if len(b64decode(secret.removeprefix("whsec_"), validate=True)) not in SECRET_BYTES:
                raise ValueError("wrong length")
    except ValueError:
        raise SettingsError(f"TENURE_FEED_SECRET is not a Standard Webhooks secret. {_FIX}") from None
    return signing(*secrets) if secrets else None
