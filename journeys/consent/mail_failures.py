"""Failure class of a mail, by its status, the server's reply and words.

The same rule for a rejection during delivery and for a report afterwards.
"""

from __future__ import annotations

import re
from typing import Final

from journeys.consent.failure_classes import SMTP, STATUS, FailureClass, class_of

_STATUS: Final = re.compile(r"\s*([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_REPLY: Final = re.compile(r"\s*(?:smtp\s*;\s*)?([45]\d\d)(?:[ -]|$)", re.IGNORECASE)
_QUOTED_STATUS: Final = re.compile(r"(?<![\d.])#?([45]\.\d{1,3}\.\d{1,3})(?![\d.]*\d)")
_UNSPECIFIC: Final = frozenset({"", "0.0"})
"""`5.0.0`: some servers report it for every failure."""

_ABOUT_SENDER: Final = re.compile(
    r"""\b(?: spam | spammy | junk[ ]?mail | phish\w* | black ?list\w* | block ?list\w* | blocked | denylist\w* | (?:dns)?[rd]bl
      | spamhaus | barracuda\w* | reputation | dmarc | dkim | spf | ptr | reverse[ ]dns | rdns | policy | prohibit\w* | banned
      | rate[ -]?limit\w* | too[ ]many[ ](?:messages|connections|mails|emails) | quota[ ]of[ ]the[ ]sender | unsolicited
      | relay(?:ing)?[ ](?:access[ ])?(?:denied|not[ ]permitted) | unauthenticated | authentication[ ]required
      | (?:message|mail|size)[ ](?:is[ ])?(?:too[ ](?:big|large)|exceeds) | exceeds[ ]\w*[ ]?(?:size|limit)
      | content[ ]reject\w* | virus | malware | sender[ ](?:address[ ])?(?:rejected|denied|verify) )\b""",
    re.IGNORECASE | re.VERBOSE,
)
_ABOUT_ADDRESS: Final = re.compile(
    r"""(?: \b(?:unknown|invalid|no[ ]such|non-?existent)[ ](?:\w+[ ])?(?:user|recipient|mailbox|address|account|local[ -]part)
      | \b(?:user|recipient|mailbox|address|account)\b[^;]{0,80}?\b(?:unknown|not[ ]known|does[ ]not[ ]exist|doesn'?t[ ]exist
          |not[ ]exist|not[ ]found|no[ ]longer[ ]exists|is[ ]invalid|not[ ]listed|has[ ]been[ ]deleted)
      | \bdoesn'?t[ ]have[ ]an?[ ]\S+[ ]account | \bno[ ]mailbox[ ](?:here[ ])?by[ ]that[ ]name | \bunrouteable[ ]address
      | \bnot[ ]a[ ]valid[ ](?:user|mailbox|recipient) | \bempf(?:ä|ae)nger(?:adresse)?\b[^.;]{0,40}\b(?:unbekannt|existiert[ ]nicht)
      | \bbenutzer[ ]unbekannt | \butilisateur[ ]inconnu | \busuario[ ]desconocido | \butente[ ]sconosciuto
      | \bthis[ ]account[ ]has[ ]been[ ](?:deleted|removed) )""",
    re.IGNORECASE | re.VERBOSE,
)


def leading_status(text: str) -> str:
    """The enhanced status code (RFC 3463) at the beginning of a text; empty without one."""
    match = _STATUS.match(text)
    return f"{match[1]}.{match[2]}.{match[3]}" if match is not None else ""


def failure_of(status: str, diagnostic: str = "") -> FailureClass:
    """The class of a failed recipient by the report's status and the remote server's reply, `550 5.1.1 no such user`.

    A transient status (4.x.x) is never about the address: the server has not said so for good. The remote server's own status
    counts more than the reporting server's.
    """
    code = leading_status(status)
    if code.startswith("4"):
        return _without_gone(class_of(STATUS, code[2:]))
    quoted = quoted_status(diagnostic)
    if quoted.startswith("5") and quoted[2:] not in _UNSPECIFIC:
        return class_of(STATUS, quoted[2:])
    if code[2:] not in _UNSPECIFIC:
        return class_of(STATUS, code[2:])
    return _by_reply(diagnostic)


def failure_of_reply(code: int, words: str) -> FailureClass:
    """The class of a relay's reply during delivery: `code` and its text, which may begin with a status (RFC 2034 §4)."""
    status = leading_status(words)
    if code // 100 == 4:
        by_code = class_of(STATUS, status[2:]) if status else class_of(SMTP, str(code))
        return _without_gone(by_code)
    return failure_of(status, f"{code} {words}")


def quoted_status(diagnostic: str) -> str:
    """The status in a remote server's reply, `smtp; 550-5.1.1 no`; also after other words, as in `(#5.1.1)`. Empty without one."""
    reply = _REPLY.match(diagnostic)
    if reply is not None and (status := leading_status(diagnostic[reply.end() :])):
        return status
    quoted = _QUOTED_STATUS.search(diagnostic)
    return quoted[1] if quoted is not None else ""


def _by_reply(diagnostic: str) -> FailureClass:
    """The class of a reply without a specific status: by its code where that is clear, else by its words."""
    reply = _REPLY.match(diagnostic)
    code = reply[1] if reply is not None else ""
    by_code = class_of(SMTP, code)
    if by_code is not FailureClass.MAILBOX_TROUBLE:
        return by_code
    if _ABOUT_SENDER.search(diagnostic):
        return FailureClass.SENDER_REFUSED
    if not code.startswith("4") and _ABOUT_ADDRESS.search(diagnostic):
        return FailureClass.ADDRESS_GONE
    return by_code


def _without_gone(failure: FailureClass) -> FailureClass:
    return FailureClass.MAILBOX_TROUBLE if failure is FailureClass.ADDRESS_GONE else failure
