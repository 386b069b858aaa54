"""Short messages (Twilio's shape), only for what is time-sensitive (C7): class C, for the API takes no key.

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
from activities.channels.http.channel import HttpChannel, Reach, Written
from activities.channels.http.reply_tables import BLIND_TAIL, Means, Row
from activities.content import markup
from activities.content.templates import Rendered, Templates
from activities.outgoing.client import Call, Way
from activities.ports import Ambiguity, Outgoing, Prepared, Promise, TemplateFault

LONGEST = 1_600
"""Characters that Twilio takes; more is refused here, before a person gets half of it."""


@dataclass(frozen=True, slots=True)
class SmsSettings:
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


class SmsChannel(HttpChannel):
    """Text and a link."""

    name = "sms"
    promise = Promise.BLIND
    time_sensitive = True
    table = (
        Row("400", Means.PERMANENT, "21211", "not a number that exists"),
        Row("400", Means.PERMANENT, "21408", "the account may not send to the country of this number"),
        Row("400", Means.PERMANENT, "21610", "the person has replied STOP"),
        Row("400", Means.PERMANENT, "21614", "not a mobile number"),
        # Either says of the sender that it is wrong for all, or a short code of another country than this number.
        Row("400", Means.TRANSIENT, "21606", "the sender is not one of the account's, or not for this number"),
        Row("400", Means.TRANSIENT, "21659", "the sender is not one of Twilio's, or not for this number"),
        Row("400", Means.OURS, "21603", "no sender is given"),
        Row("400", Means.OURS, "21660", "the sender is another account's"),
        Row("400", Means.OURS, "21661", "the sender cannot send short messages"),
        Row("4xx", Means.DOWN, "21611", "the sender's queue is full, for ten hours of messages wait in it"),
        Row("429", Means.TRANSIENT, "20429", "too many requests; Retry-After is kept for the whole provider"),
        Row("404", Means.OURS, "20404", "no such account"),
        *BLIND_TAIL,
    )

    def __init__(self, templates: Templates, way: Way, reach: Reach, settings: SmsSettings) -> None:
        super().__init__(templates, way, reach)
        self._settings, self.ambiguity = settings, settings.ambiguity

    def address(self, profile: Mapping[str, Any], subject_key: str) -> str | None:  # noqa: ARG002 -- the port's
        """The person's `phone` in E.164, if it is a number that can exist."""
        return e164(profile.get("phone"), self._settings.region)

    def write(self, message: Rendered, outgoing: Outgoing, digest: str) -> Written:  # noqa: ARG002 -- the port's
        """The words, then the one link. Raises TemplateFault for what would be cut."""
        text = f"{markup.text(message.blocks).strip()} {message.action_url}"
        if len(text) > LONGEST:
            raise TemplateFault(f"{outgoing.template} has {len(text)} characters, and a short message {LONGEST}")
        return Written({"text": text})

    async def call(self, content: Mapping[str, Any], prepared: Prepared, digest: str) -> Call:
        """One form. The sender is a number or a service, by its prefix."""
        it = self._settings
        sender = {"MessagingServiceSid" if it.sender.startswith("MG") else "From": it.sender}
        callback = {"StatusCallback": f"{it.callback}?m={digest}"} if it.callback else {}
        form = {"To": prepared.address, "Body": str(content["text"]), **sender, **callback}
        headers = {"content-type": "application/x-www-form-urlencoded", **basic(it.account, it.token)}
        url = f"{it.base}/2010-04-01/Accounts/{it.account}/Messages.json"
        return Call("POST", url, headers, urlencode(form).encode())


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
