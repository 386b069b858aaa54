"""Signs of a program's mail: headers, subjects of absence notices and bounces, pure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Final

READ: Final = (
    "from", "subject", "return-path", "auto-submitted", "precedence", "x-autoreply", "x-autorespond", "x-autoresponder",
    "x-auto-reply", "x-vacation", "x-failed-recipients", "x-ms-exchange-message-is-ndr", "x-mailer",
)  # fmt: skip
"""Headers that are read here."""
_AUTOMATIC: Final = ("x-autoreply", "x-autorespond", "x-autoresponder", "x-auto-reply", "x-vacation")
_ABSENCE: Final = re.compile(
    r"""^\W*(?: auto(?:matic|mated)?[ _-]?(?:reply|response|answer|respond(?:er)?)\b | auto: | out[ -]of[ -](?:the[ -])?office\b
      | ooo\b\W | (?:absence|vacation|away)[ ](?:notice|message|reply)\b | i[ ]?(?:am|'m)[ ](?:currently[ ])?out[ ]of[ ](?:the[ ])?office
      | automatische[ ](?:antwort|nachricht|abwesenheit\w*|e-?mail)\b | autom\.[ ]antwort | abwesenheits?(?:notiz|nachricht|meldung|assistent|info\w*|hinweis|benachrichtigung)\b
      | abwesend(?:heit)?\b\W | abwesenheit\b | (?:ich[ ]bin[ ])?nicht[ ]im[ ](?:büro|haus)\b | außer[ ]haus\b | urlaubs(?:notiz|meldung|vertretung)\b
      | réponse[ ](?:automatique|d'absence)\b | message[ ]d'absence | absence[ ]du[ ]bureau | respuesta[ ]automática\b | fuera[ ]de[ ](?:la[ ])?oficina\b
      | risposta[ ]automatica\b | fuori[ ](?:sede|ufficio)\b | automatisch[ ]antwoord\b | afwezig(?:heid)?\b )""",
    re.IGNORECASE | re.VERBOSE,
)
_BOUNCE_SUBJECT: Final = re.compile(
    r"""^\W*(?: undeliver(?:able|ed)\b | undelivered[ ]mail | (?:mail[ ])?delivery[ ](?:failed|failure|status|has[ ]failed|problem|report|error|notification|unsuccessful)
      | (?:returned|rejected)[ ]mail\b | failure[ ]notice | failed[ ](?:mail|delivery) | mail[ ](?:system[ ])?(?:error|failure)\b | non-?delivery[ ](?:notice|report)
      | message[ ](?:could[ ]not|not)[ ](?:be[ ])?deliver | could[ ]not[ ]send[ ]message | warning:[ ]could[ ]not[ ]send | delayed[ ]mail
      | unzustellbar\b | (?:mail|nachricht)[ ]?(?:konnte[ ])?nicht[ ](?:zugestellt|zustellbar) | zustellung[ ](?:fehlgeschlagen|nicht) | fehler[ ]bei[ ]der[ ]zustellung | rückgabe\b
      | non[ ]remis\b | échec[ ]de[ ](?:la[ ])?(?:remise|distribution) | no[ ]se[ ]puede[ ]entregar | non[ ]recapitabile | niet[ ]bezorgd | onbestelbaar )""",
    re.IGNORECASE | re.VERBOSE,
)
_SYSTEM_NAMES: Final = re.compile(
    r"(?:mailer-?daemon|postmaster|mail-?daemon|mdaemon|mmdf|uucp|bounces?|mail[-_.]?delivery[-_.]?(?:subsystem|system)?|microsoftexchange\w+)\Z",
    re.IGNORECASE,
)


def is_automatic(mail: EmailMessage) -> bool:
    """Whether a program wrote a mail (RFC 3834, and the habits of programs that ignore it).

    A list's headers are no sign: a person may write through a group's address. Nor is `X-Auto-Response-Suppress`, which mail programs
    also add to a person's mail.
    """
    return any(_signs(mail))


def is_bounce(mail: EmailMessage) -> bool:
    """Whether a mail system reports about a mail: by its sender, its subject or its parts. Absence notices are none."""
    if header(mail, "x-failed-recipients") or "x-ms-exchange-message-is-ndr" in mail:
        return True
    if is_absence_notice(header(mail, "subject")):
        return False
    kind = str(mail.get_param("report-type") or "delivery-status").lower()
    reports = mail.get_content_type() == "multipart/report" and kind == "delivery-status"
    local = parseaddr(header(mail, "from"))[1].partition("@")[0]
    from_system = header(mail, "return-path") == "<>" or bool(_SYSTEM_NAMES.match(local))
    return (
        reports
        or bool(_SYSTEM_NAMES.match(local))
        or (from_system and bool(_BOUNCE_SUBJECT.match(header(mail, "subject"))))
    )


def header(mail: EmailMessage, name: str) -> str:
    """The first header of this name as text; empty without one."""
    return str(mail.get(name, "")).strip()


def _signs(mail: EmailMessage) -> Iterator[bool]:
    yield header(mail, "auto-submitted").split(";")[0].strip().lower() not in {"", "no"}
    yield header(mail, "precedence").lower() in {"bulk", "junk", "auto_reply"}
    yield any(name in mail for name in _AUTOMATIC)
    yield mail.get_content_type() in {"multipart/report", "message/delivery-status"}
    yield header(mail, "return-path") == "<>"
    yield is_absence_notice(header(mail, "subject"))
    yield is_bounce(mail)


def is_absence_notice(subject: str) -> bool:
    """Whether a mail program writes such a subject over an absence notice; an answer to one (`Re: …`) is none."""
    return bool(_ABSENCE.match(subject.strip()))
