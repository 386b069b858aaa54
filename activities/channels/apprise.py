"""Channel over apprise's services, for providers without an adapter of ours (class C).

It answers yes or no, with no word of why and no reference, so a no is `unknown`: it may have been the last of several parts.
The address is the operator's template; of a person only one field goes into it, encoded so that it stays one part of a path, and
never as the host: apprise calls by a way of its own, past the guarded one, so the operator alone says whom.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import apprise

from activities.channels.message_hash import message_hash
from activities.content import markup
from activities.content.templates import Templates
from activities.content.tracked_links import ClickLinks, track_links
from activities.ports import Ambiguity, AttemptResult, Outgoing, Prepared, Promise, Receipt, Retry

PLACE = "{address}"


@dataclass(frozen=True, slots=True)
class AppriseSettings:
    """`url` is apprise's, such as `tgram://token/{address}/`; `field` the trait of the person that stands for `{address}`.

    `time_sensitive`: the service interrupts people, so only templates marked so go there (C7). With `clicks`, links go through us.
    """

    url: str
    field: str
    ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE
    time_sensitive: bool = False
    clicks: ClickLinks | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for an address that apprise does not know, is the same for everyone, or whose host a person chooses."""
        if PLACE not in self.url or apprise.Apprise.instantiate(self.url.replace(PLACE, "12345678")) is None:
            raise ValueError(f"is no address of apprise with {PLACE} in it: see its list of services")
        if PLACE in _host(self.url):
            raise ValueError(f"is an address of apprise with {PLACE} for its host: a person would say whom we call")


class AppriseChannel:
    """A Channel over apprise's blocking calls, each in a thread."""

    name = "apprise"
    inside = False
    promise = Promise.BLIND
    local = False
    attempt = timedelta(seconds=30)
    retry = Retry()

    def __init__(self, templates: Templates, settings: AppriseSettings) -> None:
        self._templates, self._settings = templates, settings
        self.ambiguity = settings.ambiguity

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """The field's value."""
        value = profile.get(self._settings.field)
        return str(value) if isinstance(value, str | int) and not isinstance(value, bool) and str(value) else None

    def prepare(self, outgoing: Outgoing) -> Prepared:
        """Title and text. Raises TemplateFault."""
        if self._settings.time_sensitive:
            self._templates.must_be_urgent(outgoing.template, self.name)
        reference = message_hash(outgoing.key)
        message, links = track_links(self._settings.clicks, self._templates.render(outgoing), reference)
        text = f"{markup.markup_text(message.blocks).strip()}\n\n{message.action_label}: {message.action_url}"
        body = json.dumps({"title": message.subject, "body": text}, ensure_ascii=False).encode()
        summary = {"subject": message.subject, "template": outgoing.template, "topic": message.topic, **links}
        return Prepared(reference, outgoing.address, body, summary)

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:  # noqa: ARG002 -- apprise takes no key
        """One call. A thread cannot be stopped, so what takes too long is unknown."""
        url = self._settings.url.replace(PLACE, quote(prepared.address, safe=""))
        service = apprise.Apprise.instantiate(url)
        if service is None:
            return Receipt(AttemptResult.REFUSED, "not an address that this service takes", left=False)
        if prepared.until is not None and datetime.now(UTC) > prepared.until:
            return Receipt(AttemptResult.TRY_AGAIN, "the attempt came too late to leave", left=False)
        said = json.loads(prepared.body)
        try:
            async with asyncio.timeout(self.attempt.total_seconds()):
                taken = await asyncio.to_thread(service.notify, said["body"], title=said["title"])
        except TimeoutError:
            return Receipt(AttemptResult.UNKNOWN, "no answer in time", outage=True)
        except Exception as fault:  # noqa: BLE001 -- a hundred plug-ins, each with its own surprises
            return Receipt(AttemptResult.UNKNOWN, f"the call failed ({type(fault).__name__})", outage=True)
        return (
            Receipt(AttemptResult.SENT)
            if taken
            else Receipt(AttemptResult.UNKNOWN, "not confirmed by the service", outage=True)
        )

    async def find(self, prepared: Prepared) -> bool | None:  # noqa: ARG002 -- the port's
        """It cannot be searched."""
        return None

    async def close(self) -> None:
        """Holds nothing open."""


def _host(url: str) -> str:
    """Host and port, or what a service has in their place."""
    return re.split(r"[/?]", url.partition("://")[2], maxsplit=1)[0].rpartition("@")[2]
