"""Schemas of webhooks and mails that providers and mail servers hand in."""

from __future__ import annotations

from pydantic import BaseModel


class WebhookResult(BaseModel):
    """Committed. `taken` counts the events stored; 0 if no message is concerned, or nothing changes."""

    taken: int
