"""SMS by Twilio (class C), time-sensitive messages only (C7).

Source: Twilio's Messages resource, `POST /2010-04-01/Accounts/{sid}/Messages.json`, form-encoded, HTTP Basic, and its error
dictionary. The URL for status callbacks carries the key's hash, by which a callback finds its message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import phonenumbers

from activities.channels.http.access_tokens import basic
from activities.channels.http.channel import HttpChannel, PreparedContent, Reach
from activities.channels.http.reply_tables import BLIND_TAIL, ReplyMeaning, ReplyRow
from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.outgoing.client import HttpClient, HttpRequest
from activities.ports import Ambiguity, Outgoing, Prepared, Promise, TemplateFault

MAX_TEXT = 1_600
"""Characters that Twilio accepts. A longer message fails here, so that nobody gets only a part of it."""


@dataclass(frozen=True, slots=True)
class TwilioSettings:
    """`sender` is a number or a messaging service (`MG…`); `region` is the country of national numbers, such as `DE`.

    `callback` is our public URL for status callbacks (`https://…/v1/hooks/twilio`); empty for none.
    """

    account: str
    token: str
    sender: str
    base: str = "https://api.twilio.com"
    region: str | None = None
    callback: str = ""
    ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE


class TwilioChannel(HttpChannel):
    """An SMS of text and one link."""

    name = "sms"
    system = "twilio"
    promise = Promise.BLIND
    time_sensitive = True
    table = (
        ReplyRow("400", ReplyMeaning.PERMANENT, "21211", "not a number that exists"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "21408", "the account may not send to the country of this number"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "21610", "the person has replied STOP"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "21614", "not a mobile number"),
        # The sender is wrong for everyone, or it is a short code of another country than this number.
        ReplyRow(
            "400", ReplyMeaning.TRANSIENT, "21606", "the sender is not one of the account's, or not for this number"
        ),
        ReplyRow("400", ReplyMeaning.TRANSIENT, "21659", "the sender is not one of Twilio's, or not for this number"),
        ReplyRow("400", ReplyMeaning.OURS, "21603", "no sender is given"),
        ReplyRow("400", ReplyMeaning.OURS, "21660", "the sender is another account's"),
        ReplyRow("400", ReplyMeaning.OURS, "21661", "the sender cannot send short messages"),
        ReplyRow("4xx", ReplyMeaning.OURS, "21611", "the sender's queue is full: ten hours of messages"),
        ReplyRow(
            "429", ReplyMeaning.TRANSIENT, "20429", "too many requests; Retry-After is kept for the whole provider"
        ),
        ReplyRow("404", ReplyMeaning.OURS, "20404", "no such account"),
        *BLIND_TAIL,
    )

    def __init__(self, templates: Templates, http: HttpClient, reach: Reach, settings: TwilioSettings) -> None:
        super().__init__(templates, http, reach)
        self._settings, self.ambiguity = settings, settings.ambiguity

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 — part of the port
        """The person's `phone` in E.164 format, if the number is possible."""
        return e164(profile.get("phone"), self._settings.region)

    def write(self, message: Rendered, outgoing: Outgoing, key_hash: str) -> PreparedContent:  # noqa: ARG002 — part of the port
        """Text, then the link. Raises TemplateFault for a message that Twilio would cut."""
        text = f"{markup.markup_text(message.blocks).strip()} {message.action_url}"
        if len(text) > MAX_TEXT:
            raise TemplateFault(f"{outgoing.template} has {len(text)} characters; an SMS may have {MAX_TEXT}")
        return PreparedContent({"text": text})

    async def call(self, content: Mapping[str, Any], prepared: Prepared, key_hash: str) -> HttpRequest:
        """`POST …/Messages.json`. The sender is a number or a messaging service, by its prefix."""
        settings = self._settings
        sender = {"MessagingServiceSid" if settings.sender.startswith("MG") else "From": settings.sender}
        callback = {"StatusCallback": f"{settings.callback}?m={key_hash}"} if settings.callback else {}
        form = {"To": prepared.address, "Body": str(content["text"]), **sender, **callback}
        headers = {"content-type": "application/x-www-form-urlencoded", **basic(settings.account, settings.token)}
        url = f"{settings.base}/2010-04-01/Accounts/{settings.account}/Messages.json"
        return HttpRequest("POST", url, headers, urlencode(form).encode())


def e164(phone: object, region: str | None = None) -> str | None:
    """A phone number in E.164 format (ITU-T), or None. `region` is the country of national numbers."""
    if not isinstance(phone, str):
        return None
    try:
        number = phonenumbers.parse(phone, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
