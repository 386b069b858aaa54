"""Channel over apprise's services, for providers without an adapter of ours (class C).

Apprise answers yes or no without a reason or reference, so a no is `unknown`: one of several parts may have arrived. The operator's
URL is a template. One field of the person goes into it, encoded as one path segment and never as the host, because apprise does
not use our guarded HTTP client.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import apprise

from activities.channels.message_hash import message_hash
from activities.content import markup
from activities.content.templates import Templates
from activities.content.tracked_links import ClickLinks, track_links
from activities.ports import Ambiguity, AttemptResult, Outgoing, Prepared, Promise, Receipt, Retry
from store.process_clock import current_instant

PLACEHOLDER = "{address}"


@dataclass(frozen=True, slots=True)
class AppriseSettings:
    """`url` is an apprise URL such as `tgram://token/{address}/`; `field` is the trait that replaces `{address}`.

    With `time_sensitive` the service interrupts people and gets only time-sensitive templates (C7). `clicks` tracks links.
    """

    url: str
    field: str
    ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE
    time_sensitive: bool = False
    clicks: ClickLinks | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a URL that apprise does not support, that has no {address}, or has it in the host."""
        if (
            PLACEHOLDER not in self.url
            or apprise.Apprise.instantiate(self.url.replace(PLACEHOLDER, "12345678")) is None
        ):
            raise ValueError(f"is no apprise URL with {PLACEHOLDER} in it; see apprise's list of services")
        if PLACEHOLDER in _host(self.url):
            raise ValueError(f"has {PLACEHOLDER} in its host: a person's data would choose whom we call")


class AppriseChannel:
    """A channel over apprise's blocking calls, each in a thread."""

    name = "apprise"
    inside = False
    promise = Promise.BLIND
    local = False
    attempt = timedelta(seconds=30)
    retry = Retry()

    def __init__(self, templates: Templates, settings: AppriseSettings) -> None:
        self._templates, self._settings = templates, settings
        self.ambiguity = settings.ambiguity

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """The value of the field."""
        value = profile.get(self._settings.field)
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and str(value) else None

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """Title and text of the message. Raises TemplateFault."""
        if self._settings.time_sensitive:
            self._templates.must_be_urgent(outgoing.template, self.name)
        reference = message_hash(outgoing.key)
        message, links = track_links(self._settings.clicks, self._templates.render(outgoing), reference)
        text = f"{markup.markup_text(message.blocks).strip()}\n\n{message.action_label}: {message.action_url}"
        body = json.dumps({"title": message.subject, "body": text}, ensure_ascii=False).encode()
        summary = {"subject": message.subject, "template": outgoing.template, "topic": message.topic, **links}
        return Prepared(reference, outgoing.address, body, summary)

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:  # noqa: ARG002 — apprise accepts no key
        """One call. A thread cannot be cancelled, so a call that takes too long is unknown."""
        url = self._settings.url.replace(PLACEHOLDER, quote(prepared.address, safe=""))
        service = apprise.Apprise.instantiate(url)
        if service is None:
            return Receipt(AttemptResult.REFUSED, "the service does not accept this address", left=False)
        if prepared.until is not None and current_instant() > prepared.until:
            return Receipt(AttemptResult.TRY_AGAIN, "the attempt came too late to be sent", left=False)
        content = json.loads(prepared.body)
        try:
            async with asyncio.timeout(self.attempt.total_seconds()):
                taken = await asyncio.to_thread(service.notify, content["body"], title=content["title"])
        except TimeoutError:
            return Receipt(AttemptResult.UNKNOWN, "no answer in time", outage=True)
        except Exception as error:  # noqa: BLE001 — a hundred plug-ins raise anything
            return Receipt(AttemptResult.UNKNOWN, f"the call failed ({type(error).__name__})", outage=True)
        return (
            Receipt(AttemptResult.SENT)
            if taken
            else Receipt(AttemptResult.UNKNOWN, "not confirmed by the service", outage=True)
        )

    async def find(self, prepared: Prepared) -> bool | None:  # noqa: ARG002 — part of the port
        """Never called: class C cannot be searched."""
        return None

    async def close(self) -> None:
        """Nothing is kept open."""


def _host(url: str) -> str:
    """Host and port of a URL, or what a service has in their place."""
    return re.split(r"[/?]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
