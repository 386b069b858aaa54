"""What a text message means for consent: one of the words that stop, or one that starts again, alone in the message.

Source: FCC 47 CFR 64.1200(a)(10), the words that are a reasonable means of revoking consent by text; START and UNSTOP as
carriers and Twilio know them. "Stop" within a sentence is for a person to read, not for a rule to act on.
"""

from __future__ import annotations

import unicodedata
from typing import Final, Literal

OptKeyword = Literal["stop", "start"]

STOP: Final = frozenset({"stop", "quit", "end", "revoke", "optout", "cancel", "unsubscribe", "stopall"})
START: Final = frozenset({"start", "unstop"})
LONGEST: Final = 200
"""Characters of a message that can be one of the words, however it is decorated."""


def keyword_of(text: str) -> OptKeyword | None:
    """What the whole message asks for; None if it is anything else. Case, punctuation, space and width mean nothing."""
    if len(text) > LONGEST:
        return None
    word = "".join(mark for mark in unicodedata.normalize("NFKC", text).casefold() if mark.isalnum())
    if word in STOP:
        return "stop"
    return "start" if word in START else None
