"""SMS by Twilio (class C), time-sensitive messages only (C7).

Source: Twilio's Messages resource, `POST /2010-04-01/Accounts/{sid}/Messages.json`, form-encoded, HTTP Basic; its error
dictionary. Our digest travels in the address for status callbacks, so deliveries and failures find their message.
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

LONGEST = 1_600
"""Characters that Twilio takes; more is refused here, before a person gets half of it."""


@dataclass(frozen=True, slots=True)
class TwilioSettings:
    """`sender` is a number or a messaging service (`MG…`); `region` reads numbers without a country, such as `DE`.

    `callback` is our own public address for status callbacks (`https://…/v1/hooks/twilio`); empty is none.
    """

    account: str
    token: str
    sender: str
    base: str = "https://api.twilio.com"
    region: str | None = None
    callback: str = ""
    ambiguity: Ambiguity = Ambiguity.AT_MOST_ONCE


class TwilioChannel(HttpChannel):
    """Text and a link."""

    name = "sms"
    promise = Promise.BLIND
    time_sensitive = True
    table = (
        ReplyRow("400", ReplyMeaning.PERMANENT, "21211", "not a number that exists"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "21408", "the account may not send to the country of this number"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "21610", "the person has replied STOP"),
        ReplyRow("400", ReplyMeaning.PERMANENT, "21614", "not a mobile number"),
        # Either says of the sender that it is wrong for all, or a short code of another country than this number.
        ReplyRow(
            "400", ReplyMeaning.TRANSIENT, "21606", "the sender is not one of the account's, or not for this number"
        ),
        ReplyRow("400", ReplyMeaning.TRANSIENT, "21659", "the sender is not one of Twilio's, or not for this number"),
        ReplyRow("400", ReplyMeaning.OURS, "21603", "no sender is given"),
        ReplyRow("400", ReplyMeaning.OURS, "21660", "the sender is another account's"),
        ReplyRow("400", ReplyMeaning.OURS, "21661", "the sender cannot send short messages"),
        ReplyRow("4xx", ReplyMeaning.DOWN, "21611", "the sender's queue is full, for ten hours of messages wait in it"),
        ReplyRow(
            "429", ReplyMeaning.TRANSIENT, "20429", "too many requests; Retry-After is kept for the whole provider"
        ),
        ReplyRow("404", ReplyMeaning.OURS, "20404", "no such account"),
        *BLIND_TAIL,
    )

    def __init__(self, templates: Templates, way: HttpClient, reach: Reach, settings: TwilioSettings) -> None:
        super().__init__(templates, way, reach)
        self._settings, self.ambiguity = settings, settings.ambiguity

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """The person's `phone` in E.164, if it is a number that can exist."""
        return e164(profile.get("phone"), self._settings.region)

    def write(self, message: Rendered, outgoing: Outgoing, digest: str) -> PreparedContent:  # noqa: ARG002 -- the port's
        """The words, then the one link. Raises TemplateFault for what would be cut."""
        text = f"{markup.markup_text(message.blocks).strip()} {message.action_url}"
        if len(text) > LONGEST:
            raise TemplateFault(f"{outgoing.template} has {len(text)} characters, and a short message {LONGEST}")
        return PreparedContent({"text": text})

    async def call(self, content: Mapping[str, Any], prepared: Prepared, digest: str) -> HttpRequest:
        """One form. The sender is a number or a service, by its prefix."""
        it = self._settings
        sender = {"MessagingServiceSid" if it.sender.startswith("MG") else "From": it.sender}
        callback = {"StatusCallback": f"{it.callback}?m={digest}"} if it.callback else {}
        form = {"To": prepared.address, "Body": str(content["text"]), **sender, **callback}
        headers = {"content-type": "application/x-www-form-urlencoded", **basic(it.account, it.token)}
        url = f"{it.base}/2010-04-01/Accounts/{it.account}/Messages.json"
        return HttpRequest("POST", url, headers, urlencode(form).encode())


def e164(given: object, region: str | None = None) -> str | None:
    """A number as providers take it (ITU-T E.164), or None."""
    if not isinstance(given, str):
        return None
    try:
        number = phonenumbers.parse(given, region)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_possible_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))
