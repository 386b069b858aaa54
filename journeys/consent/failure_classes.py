"""Failure classes of every provider's codes: the only table of them.

A failure is about the recipient's address, about the mailbox behind it, or about us. Only the first two concern the recipient.
Sources: RFC 3463 and the IANA registry of enhanced status codes, RFC 5321 §4.2, RFC 7504, and the providers' own lists of errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, Final


class FailureClass(Enum):
    """What a failed delivery is about. The value is the `kind` of `message_bounced`."""

    ADDRESS_GONE = "hard"
    """The address does not exist: it is suppressed until somebody lifts that."""
    MAILBOX_TROUBLE = "soft"
    """The mailbox or its server has trouble: counted, retried where possible, suppressed for a time after several."""
    SENDER_REFUSED = "sender"
    """We are refused (policy, reputation, quota, size, configuration): nobody is suppressed, and the operator is told."""


STATUS, SMTP = "status", "smtp"
"""Systems of codes that every mail server shares: enhanced status codes (X.5.1.1) and three-digit replies."""
HTTP = "http"
"""Statuses of providers over HTTP that have no code of their own."""
OTHER: Final = "*"
"""In place of a code: every code of the system that has no row."""

_GONE, _TROUBLE, _SENDER = FailureClass

_ROWS: Final[Mapping[str, Mapping[FailureClass, str]]] = {
    # Only the subject and the detail count here; the class of the status (4, 5) is read by `mail_failures.py`.
    # 1.7 and 1.8 are about the sender's address, 1.9 is about a relay (RFC 3886 §3.3.4).
    STATUS: {
        _GONE: "1.0 1.1 1.2 1.3 1.4 1.5 1.6 1.10",
        _TROUBLE: "0.0 1.9 2.0 2.1 2.2 2.4 3.0 3.1 3.2 4.0 4.1 4.2 4.3 4.4 4.5 4.6 4.7 5.0 *",
        _SENDER: "1.7 1.8 2.3 3.3 3.4 3.5 3.6 5.1 5.2 5.3 5.4 5.5 5.6 6.* 7.*",
    },
    # 521 and 556: the domain accepts no mail. A 550 to 554 alone does not say whose fault it is.
    SMTP: {
        _GONE: "521 556",
        _TROUBLE: "421 450 451 452 455 550 551 552 553 554 555 *",
        _SENDER: "454 500 501 502 503 504 523 530 534 535 538",
    },
    "resend": {
        _GONE: "Permanent Permanent/General Permanent/NoEmail Permanent/Suppressed Permanent/OnAccountSuppressionList "
        "OnAccountSuppressionList",
        _TROUBLE: "Transient Transient/General Transient/MailboxFull Undetermined *",
        _SENDER: "Transient/MessageTooLarge Transient/ContentRejected Transient/AttachmentRejected "
        "Permanent/MessageTooLarge Permanent/ContentRejected Permanent/AttachmentRejected email.failed "
        "invalid_idempotent_request daily_quota_exceeded monthly_quota_exceeded",
    },
    # 30003: switched off for long, which may change by itself. 21610: the person has replied STOP, and may reply START.
    "twilio": {
        _GONE: "21211 21214 21217 21614 30005 30006",
        _TROUBLE: "21610 21612 30003 30004 30008 30009 30011 30017 30036 30410 *",
        _SENDER: "20003 20404 20429 21212 21408 21602 21603 21606 21611 21617 21659 21660 21661 30001 30002 30007 30010 30018 "
        "30019 30022 30023 30024 30027 30032 30034 30035 30450 30453 30485",
    },
    "fcm": {
        _GONE: "UNREGISTERED 404 410",
        _TROUBLE: "",
        _SENDER: "SENDER_ID_MISMATCH INVALID_ARGUMENT THIRD_PARTY_AUTH_ERROR APNS_AUTH_ERROR *",
    },
    "slack": {
        _GONE: "is_archived",
        _TROUBLE: "channel_not_found not_in_channel",
        _SENDER: "invalid_auth not_authed token_revoked token_expired account_inactive missing_scope *",
    },
    "zendesk": {_GONE: "", _TROUBLE: "404", _SENDER: "422 *"},
    "zoom": {
        _GONE: "",
        _TROUBLE: "300 3000 3001 3027 3034 3038",
        _SENDER: "124 200 *",
    },
    # One receiver has everybody's messages, so no answer of it is about one recipient.
    "webhook": {_GONE: "", _TROUBLE: "", _SENDER: "410 3xx 4xx *"},
    HTTP: {_GONE: "", _TROUBLE: "", _SENDER: "401 403 3xx 4xx *"},
    "apprise": {_GONE: "", _TROUBLE: "*", _SENDER: ""},
}


def _rows() -> Iterator[tuple[tuple[str, str], FailureClass]]:
    for system, classes in _ROWS.items():
        for failure, codes in classes.items():
            for code in codes.split():
                yield (system, code), failure


OF_COUNTRY: Final = frozenset({("twilio", "21408")})
"""Codes by system of refusals that are about the recipient's country: other messages go."""
FAILURES: Final[Mapping[tuple[str, str], FailureClass]] = dict(_rows())
SYSTEMS: Final = frozenset(_ROWS)


def class_of(system: str, code: str) -> FailureClass:
    """The class of a provider's code; of a code without a row, that of its family (`6.*`) or of the system's other codes.

    A system without rows of its own is read as a provider over HTTP.
    """
    if system not in SYSTEMS:
        system = HTTP
    family = code.partition(".")[0] + ".*"
    for known in (code, family, OTHER):
        if (system, known) in FAILURES:
            return FAILURES[system, known]
    raise AssertionError(f"{system} has no class for other codes")


def bounce_properties(reason: str, failure: FailureClass) -> dict[str, Any]:
    """The properties of `message_bounced`; suppression rules read `kind` (`catalog/consent.yaml`)."""
    return {"reason": reason, "permanent": failure is FailureClass.ADDRESS_GONE, "kind": failure.value}
