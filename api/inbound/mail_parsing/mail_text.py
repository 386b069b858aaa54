"""Text of a mail's parts: transfer encodings, charsets, HTML, pure."""

from __future__ import annotations

import re
from email.message import Message
from html.parser import HTMLParser
from typing import Final

from charset_normalizer import from_bytes

SAMPLE: Final = 4 * 1024
"""Bytes from which an unknown charset is guessed."""
_BLOCKS: Final = frozenset(
    [
        "address",
        "article",
        "blockquote",
        "body",
        "dd",
        "div",
        "dl",
        "dt",
        "footer",
        "h1",
        "h2",
        "h3",
        "h4",
        "h5",
        "h6",
        "header",
        "hr",
        "li",
        "ol",
        "p",
        "pre",
        "section",
        "table",
        "td",
        "tr",
        "ul",
    ]
)
_VOID: Final = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"]
)
_SILENT: Final = frozenset({"head", "script", "style", "template", "title"})
_QUOTES: Final = frozenset(
    {
        "gmail_quote",
        "gmail_quote_container",
        "yahoo_quoted",
        "moz-cite-prefix",
        "protonmail_quote",
        "tutanota_quote",
        "zmail_extra",
    }
)
_SIGNATURES: Final = frozenset(
    {"gmail_signature", "moz-signature", "signature", "ms-outlook-mobile-signature", "x_signature"}
)
_QUOTED_FROM_HERE: Final = frozenset({"divrplyfwdmsg", "appendonsend", "mail-editor-reference-message-container"})
"""Ids of Outlook's elements: all that follows them is the quotation."""


def part_text(part: Message) -> str:
    """The text of a part. An unknown charset is guessed, and bytes that no charset explains are replaced: nothing is refused."""
    raw = part.get_payload(decode=True)
    if not isinstance(raw, bytes):
        return ""
    return decoded(raw, _charset(part))


def decoded(raw: bytes, charset: str) -> str:
    """Bytes as text: by the declared charset, else as UTF-8, else by the likeliest charset, with replacement at last."""
    for name in (charset, "utf-8"):
        try:
            return raw.decode(name)
        except (LookupError, UnicodeError, ValueError):
            continue
    guess = from_bytes(raw[:SAMPLE]).best()
    return raw.decode(guess.encoding if guess is not None else "utf-8", "replace")


def html_text(html: str, *, quotes: bool = False) -> str:
    """The text of HTML, a line for each block. Quotations and signatures in a mail program's own elements are left out."""
    parser = _TextOfHtml(quotes=quotes)
    parser.feed(html)
    parser.close()
    lines = (" ".join(line.split()) for line in "".join(parser.pieces).split("\n"))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def _charset(part: Message) -> str:
    try:
        return part.get_content_charset("us-ascii")
    except (LookupError, UnicodeError, ValueError):  # the parameter is itself in an unknown charset (RFC 2231)
        return "us-ascii"


class _TextOfHtml(HTMLParser):
    """Collects text outside of elements that are not shown, and of quotations unless `quotes`."""

    def __init__(self, *, quotes: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.pieces: list[str] = []
        self._quotes = quotes
        self._ended = False
        self._skipped: tuple[str, int] | None = None
        """The element that is left out, and how many of its kind are open in it."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipped is not None:
            name, depth = self._skipped
            self._skipped = (name, depth + (tag == name))
            return
        named = {word for key, value in attrs if key in {"class", "id"} for word in (value or "").lower().split()}
        if not self._quotes and named & _QUOTED_FROM_HERE:
            self._ended = True
        if tag not in _VOID and (tag in _SILENT or self._is_left_out(tag, named)):
            self._skipped = (tag, 1)
        elif tag == "br" or tag in _BLOCKS:
            self.pieces.append("\n")

    def _is_left_out(self, tag: str, named: set[str]) -> bool:
        return not self._quotes and (tag == "blockquote" or bool(named & (_QUOTES | _SIGNATURES)))

    def handle_endtag(self, tag: str) -> None:
        if self._skipped is not None:
            name, depth = self._skipped
            depth -= tag == name
            self._skipped = (name, depth) if depth else None
        elif tag in _BLOCKS:
            self.pieces.append("\n")

    def handle_data(self, data: str) -> None:
        if self._skipped is None and not self._ended:
            self.pieces.append(" ".join(data.split("\n")))
