"""Keywords in text messages that opt out or opt in again.

A keyword counts only if it is the whole message: "stop" within a sentence is for a person to read. Source: FCC 47 CFR
64.1200(a)(10), the words that are a reasonable means of revoking consent by text; START and UNSTOP as carriers and Twilio
use them.
"""

from __future__ import annotations

import unicodedata
from typing import Final, Literal

OptKeyword = Literal["stop", "start"]

STOP: Final = frozenset({"stop", "quit", "end", "revoke", "optout", "cancel", "unsubscribe", "stopall"})
START: Final = frozenset({"start", "unstop"})
MAX_LENGTH: Final = 200
"""Characters of a message that can be a keyword."""


def keyword_of(text: str) -> OptKeyword | None:
    """The keyword in a message, or None. Case, punctuation, space and width are ignored."""
    if len(text) > MAX_LENGTH:
        return None
    word = "".join(mark for mark in unicodedata.normalize("NFKC", text).casefold() if mark.isalnum())
    if word in STOP:
        return "stop"
    return "start" if word in START else None
