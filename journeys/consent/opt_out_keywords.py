"""Keywords in text messages that opt out or opt in again.

A keyword counts only if it is the whole message: "stop" within a sentence is for a person to read. Source: FCC 47 CFR
64.1200(a)(10), the words that are a reasonable means of revoking consent by text; START and UNSTOP as carriers and Twilio
use them.
"""

from __future__ import annotations

import unicodedata
from typing import Final, Literal

OptKeyword = Literal["stop", "start"]

_WORDS: Final = """
stop | quit | end | revoke | opt out | cancel | unsubscribe | stopall
unsubscribe me | please unsubscribe | please unsubscribe me | unsubscribe please | unsubscribe me please | remove me | please remove me
remove me from this list | remove me from your list | please remove me from your list | take me off this list | please stop
no more emails | no more mails | no more emails please | opt me out
stopp | abmelden | bitte abmelden | bitte melden sie mich ab | abbestellen | bitte abbestellen | newsletter abbestellen | abbestellung
austragen | bitte austragen | bitte tragen sie mich aus | abmeldung | keine mails mehr | keine emails mehr | bitte keine mails mehr
bitte keine emails mehr | keine werbung | keine werbung mehr | bitte keine werbung | bitte keine werbung mehr
désabonner | désabonnement | désinscription | désinscrire | arrêt | arrêter | baja | darme de baja | cancelar suscripción
cancellami | disiscrivimi | disiscrizione | annulla iscrizione | afmelden | uitschrijven
"""
"""The words of the FCC's rule, then the ones that people write, by language: English, German, French, Spanish, Italian, Dutch."""


def _letters(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text).casefold()
    return "".join(mark for mark in plain if mark.isalnum())


STOP: Final = frozenset(_letters(words) for line in _WORDS.split("\n") for words in line.split("|")) - {""}
START: Final = frozenset({"start", "unstop"})
MAX_LENGTH: Final = 200
"""Characters of a message that can be a keyword."""


def keyword_of(text: str) -> OptKeyword | None:
    """The keyword in a message, or None. Case, punctuation, space, width and accents are ignored."""
    if len(text) > MAX_LENGTH:
        return None
    word = _letters(text)
    if word in STOP:
        return "stop"
    return "start" if word in START else None
