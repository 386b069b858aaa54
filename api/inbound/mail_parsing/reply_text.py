"""Text of an answer without quotation, signature and a mail program's lines, pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from mailparser_reply import EmailReplyParser

from journeys.consent.opt_out_keywords import keyword_of

LANGUAGES: Final = ("en", "de", "fr", "es", "it", "nl")
"""Of mail programs' lines above a quotation. People answer in their own program's language, not in ours."""
MAX_TEXT: Final = 20_000
"""Characters in which the quotation is searched."""
_PARSER: Final = EmailReplyParser(languages=list(LANGUAGES))
_SEPARATOR: Final = re.compile(
    r"""^[ ]*(?: -{2,}[ ]?(?:original[ ]message|forwarded[ ]message|ursprüngliche[ ](?:nachricht|mitteilung)|originalnachricht
          |weitergeleitete[ ]nachricht|message[ ](?:d'origine|original|initial)|mensaje[ ]original|messaggio[ ]originale
          |oorspronkelijk[ ]bericht)[ ]?-{0,}
      | _{10,} | -{30,} | (?:on|am|le|el|il|op)\b[^\n]{0,200}(?:\n[^\n]{0,200}){0,2}?
          \b(?:wrote|schrieb[^\n:]{0,120}|a[ ]écrit|escribió|ha[ ]scritto|schreef[^\n:]{0,120})[ ]?: )[ ]*$""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_DELIMITER: Final = re.compile(r"^--[ ]?$", re.MULTILINE)
_DEVICE: Final = re.compile(
    r"""^(?: (?:sent|gesendet|envoyé|enviado|inviato|verzonden)[ ](?:from|with|via|using|von|mit|depuis|de|desde|con|da|vanaf|met)\b
      | get[ ]outlook[ ]for | (?:diese|this)[ ].{0,40}(?:smartphone|mobiltelefon|mobile)[ ].{0,40}(?:gesendet|sent)
      | von[ ]mein(?:em|er)[ ].{1,60}[ ]gesendet | holen[ ]sie[ ]sich[ ]outlook | outlook[ ]für[ ](?:ios|android) ).{0,100}$""",
    re.IGNORECASE | re.VERBOSE,
)
_CLOSING: Final = re.compile(
    r"""^(?: (?:(?:best|kind(?:est)?|warm(?:est)?|with[ ](?:best|kind)|many)[ ])?regards | best(?:[ ]wishes)? | all[ ]the[ ]best | cheers
      | (?:many[ ])?thanks(?:[ ](?:and[ ]\w+[ ]regards|again|in[ ]advance))? | thank[ ]you(?:[ ](?:very[ ]much|in[ ]advance))?
      | sincerely(?:[ ]yours)? | yours(?:[ ](?:sincerely|truly|faithfully))? | br | rgds | kr
      | (?:mit[ ])?(?:(?:freundlichen?|besten?|herzlichen?|lieben?|vielen?|schönen?|sonnigen?)[ ])+gr(?:ü|ue)(?:ß|ss)(?:e|en)?(?:[ ]aus[ ]\w+)?
      | (?:mfg|lg|vg)(?:[ ]\w+){0,2} | gru(?:ß|ss) | hochachtungsvoll | (?:vielen|herzlichen|besten)[ ]dank | danke(?:[ ]und[ ].{1,40})?
      | (?:bien[ ])?cordialement | bien[ ]à[ ]vous | merci(?:[ ]d'avance)? | (?:un[ ])?saludos?(?:[ ]cordial(?:es)?)? | atentamente | gracias
      | (?:cordiali|distinti)[ ]saluti | grazie | met[ ]vriendelijke[ ]groet(?:en)? | groet(?:en|jes)? )[ ]?[,.!–-]*$""",
    re.IGNORECASE | re.VERBOSE,
)
_GREETING: Final = re.compile(
    r"^(?:hi|hello|hey|dear|hallo|guten (?:tag|morgen|abend)|liebe[rs]?|sehr geehrte|moin|servus|bonjour|hola|ciao|buongiorno|beste)\b"
    r"[^.!?\n]{0,40}[,!.:]?$",
    re.IGNORECASE,
)
_SEARCHED: Final = 200
"""Characters of a line in which the library searches."""
_FEW, _SHORT = 8, 60
"""Lines of a signature after its closing words, and the characters of each."""


def written_text(text: str, sender: str = "") -> str:
    """What a person wrote. A reply that only asks to stop, around which there are a greeting or a name, is only that.

    `sender` is the name in `From`, which a reply may have as its last line.
    """
    lines = _without_signature(
        _without_quotation(text.replace("\r\n", "\n").replace("\xa0", " ")[:MAX_TEXT]).split("\n")
    )
    written = "\n".join(lines).strip()
    core = "\n".join(_without_courtesy(lines, sender))
    return core if keyword_of(core) is not None else written


def _without_quotation(text: str) -> str:
    """The text without lines that begin with `>`, and up to a mail program's line above a quotation.

    An answer below or between the quoted lines stays.
    """
    lines = text.split("\n")
    quoted = any(line.lstrip().startswith(">") for line in lines)
    head = _SEPARATOR.split(text, maxsplit=1)[0]
    below = quoted and not head.strip()  # the answer is below the quotation
    text = _SEPARATOR.sub("", text) if below else _first_reply(head if head.strip() else text)
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith(">"))


def _first_reply(text: str) -> str:
    """The text up to the first line above a quotation that the library finds.

    It is searched in shortened lines, because the library's patterns take cubic time for a long one.
    """
    lines = text.strip().split("\n")
    replies = _PARSER.read("\n".join(line[:_SEARCHED] for line in lines)).replies
    if not replies or replies[0].headers:
        return text
    return "\n".join(lines[: replies[0].content.count("\n") + 1])


def _without_signature(lines: Sequence[str]) -> list[str]:
    """The lines before a delimiter (`-- `), a device's line, or closing words with a few short lines below."""
    end = len(lines)
    for number, line in enumerate(lines):
        ends_here = _DELIMITER.match(line) or _DEVICE.match(line.strip()) or _closes(lines, number)
        if ends_here and any(before.strip() for before in lines[:number]):
            end = number
            break
    return [line.rstrip() for line in lines[:end]]


def _closes(lines: Sequence[str], number: int) -> bool:
    below = [line for line in lines[number + 1 :] if line.strip()]
    return (
        bool(_CLOSING.match(lines[number].strip()))
        and len(below) <= _FEW
        and all(len(line) <= _SHORT for line in below)
    )


def _without_courtesy(lines: Sequence[str], sender: str) -> Iterator[str]:
    """The lines without a greeting, closing words and the sender's own name."""
    names = {sender.strip().casefold(), *sender.casefold().split()} - {""}
    for line in lines:
        plain = line.strip().strip(",.!-– ").casefold()
        if plain and plain not in names and not _GREETING.match(line.strip()) and not _CLOSING.match(line.strip()):
            yield line.strip()
