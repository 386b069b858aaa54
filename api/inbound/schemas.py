"""Schemas of webhooks and mails that providers and mail servers hand in."""

from __future__ import annotations

from pydantic import BaseModel


class WebhookResult(BaseModel):
    """Committed. `taken` is how many people were told; 0 for what is none of our messages, or changes nothing."""

    taken: int
