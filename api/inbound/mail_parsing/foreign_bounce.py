"""Bounces that are no delivery reports of RFC 3464: older and foreign forms, pure.

`flufl.bounce` recognises the recipients; what their failure is about is read from the text after each address.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from email import message_from_bytes, message_from_string, policy
from email.message import EmailMessage, Message
from typing import Final

from flufl.bounce import all_failures

from api.inbound.mail_parsing.delivery_report import (
    DeliveryReport,
    FailedRecipient,
    blocks_of_text,
    failed_in,
    mail_parts,
)
from api.inbound.mail_parsing.mail_text import html_text, part_text
from api.inbound.mail_parsing.returned_mail import MOST, ids_in_text, references, returned_ids
from journeys.consent.failure_classes import FailureClass
from journeys.consent.mail_failures import failure_of, quoted_status

logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)

MAX_TEXT: Final = 50_000
"""Characters of a bounce that are read."""
_WINDOW: Final = 700
"""Characters after an address in which the reason is expected."""
_COPY: Final = re.compile(
    r"""^[ >|-]*(?: -{2,}[ ]?(?:below[ ]this[ ]line|this[ ]is[ ]a[ ]copy|original[ ]message|returned[ ]message|included[ ]is|header|transcript|undelivered|the[ ]header)
      | (?:received|return-path|mime-version|message-id|dkim-signature):[ ] | unsent[ ]message[ ]below | original[ ]message[ ](?:headers|follows) )""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_ADDRESS: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_REPLY: Final = re.compile(r"(?<![\d.])([45]\d\d)(?=[ -])(?![ -]\d)")
_LATE: Final = re.compile(
    r"warning|will (?:keep trying|be retried|retry)|still being retried|has been delayed|delivery (?:is )?delayed|no action is required"
    r"|wird weiterhin versucht|verzögert",
    re.IGNORECASE,
)


def read_foreign_bounce(mail: EmailMessage, raw: bytes) -> DeliveryReport | None:
    """The report in a mail that is a bounce by its look; None if nobody can be made out. It has no recipients if it is only late."""
    text = _whole_text(mail)
    named = [
        *(identity for part in mail.walk() for identity in returned_ids(part)),
        *ids_in_text(text),
        *references(mail),
    ]
    returned = tuple(dict.fromkeys(named))[:MOST]
    failed = [recipient for block in blocks_of_text(text) if (recipient := failed_in(block)) is not None]
    if failed:
        return DeliveryReport(returned, tuple(failed[:MOST]))
    late, addresses = _recognised(mail, raw, text)
    if not addresses and late:
        return DeliveryReport(returned, ())
    copy = _COPY.search(text)
    report = text[: copy.start()] if copy is not None else text
    if not addresses and _LATE.search(report):
        return DeliveryReport(returned, ())
    recipients = [_recipient(address, report) for address in addresses or _ADDRESS.findall(report)]
    return DeliveryReport(returned, tuple(dict.fromkeys(recipients))[:MOST]) if recipients else None


def _whole_text(mail: EmailMessage) -> str:
    """The text of every part, decoded, in order; HTML only where there is no plain text."""
    plain = [part_text(part) for part in _leaves(mail) if part.get_content_type() != "text/html"]
    texts = (
        plain
        if any(text.strip() for text in plain)
        else [html_text(part_text(part), quotes=True) for part in _leaves(mail)]
    )
    return "\n".join(texts).replace("\r\n", "\n")[:MAX_TEXT]


def _leaves(mail: Message) -> Iterator[Message]:
    return (part for part in mail_parts(mail) if part.get_content_maintype() == "text")


def _recognised(mail: EmailMessage, raw: bytes, text: str) -> tuple[bool, Sequence[str]]:
    """Whether recipients are only late, and the failed ones; also read from the decoded text, since the library decodes none."""
    plain = message_from_string(f"From: {mail.get('from', '')}\nSubject: {mail.get('subject', '')}\n\n{text}")
    late = False
    for form in (message_from_bytes(raw, policy=policy.compat32), plain):
        temporary, permanent = all_failures(form)
        if permanent:
            return False, sorted(address.decode("ascii", "replace") for address in permanent)
        late = late or bool(temporary)
    return late, ()


def _recipient(address: str, report: str) -> FailedRecipient:
    """A failed recipient with the reason in its line or after its address, else anywhere in the report."""
    place = report.casefold().find(address.casefold())
    after = report[place + len(address) :][:_WINDOW] if place >= 0 else report
    line = report[report.rfind("\n", 0, max(place, 0)) + 1 :].split("\n", maxsplit=1)[0]
    places = (line, after.split("\n\n", maxsplit=1)[0], after, report)
    diagnostic = next(filter(_is_specific, map(_from_reply, places)), "")
    return FailedRecipient((address,), quoted_status(diagnostic), failure_of("", diagnostic))


def _is_specific(diagnostic: str) -> bool:
    has_code = _REPLY.match(diagnostic) is not None or bool(quoted_status(diagnostic))
    return has_code or failure_of("", diagnostic) is not FailureClass.MAILBOX_TROUBLE


def _from_reply(text: str) -> str:
    """The words from the server's reply code on; all of them without one."""
    reply = _REPLY.search(text)
    return " ".join((text[reply.start() :] if reply is not None else text).split())
