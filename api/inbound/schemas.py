"""Schemas of webhooks and mails that providers and mail servers hand in."""

from __future__ import annotations

from pydantic import BaseModel


class WebhookResult(BaseModel):
    """Committed. `taken` counts the events stored; 0 if no message is concerned, or nothing changes.

    `held` counts what could not be read, and is kept in quarantine for a person.
    """

    taken: int
    held: int = 0
