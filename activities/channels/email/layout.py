"""Layout of mails: a column of cards with one button each, in MJML.

The layout is MJML (`layout.mjml`), made into HTML once, when this module is read; a message then fills its places. What its
author wrote has its styles inlined, since clients drop style sheets.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Final

import css_inline
import mrml

from activities.content import markup
from activities.content.digest import RenderedDigest
from activities.content.rendered import Rendered

CLIPPED: Final = 102 * 1024
"""Bytes of HTML beyond which Gmail shows only the beginning, and hides the footer with its unsubscribe link."""

_PROSE = """
p { margin: 0 0 16px }
h2 { margin: 24px 0 12px; font-size: 20px; line-height: 28px }
ul, ol { margin: 0 0 16px; padding-left: 24px }
li { margin: 0 0 6px }
a { color: #1d4ed8 }
.title { margin-top: 0 }
p:last-child, ul:last-child, ol:last-child { margin-bottom: 0 }
"""
_FOOTER = "a { color: #6b7280 }"
_PLACE = re.compile("@(lang|title|body|url|label|footer)@")


LayoutPart = tuple[str, ...]
"""A piece of the layout, cut at its places: text, a place's name, text, and so on."""


def _parts(html: str) -> tuple[LayoutPart, LayoutPart, LayoutPart, LayoutPart, LayoutPart]:
    """Before the card, the card up to its button, the button, the card's end, and what follows."""
    before, card, after = re.split("<!--/?card-->", html)
    above, button, below = re.split("<!--/?button-->", card)
    return _cut(before), _cut(above), _cut(button), _cut(below), _cut(after)


def _cut(html: str) -> LayoutPart:
    return tuple(_PLACE.split(html))


_MJML = Path(__file__).with_name("layout.mjml").read_text("utf-8")
_BEFORE, _ABOVE, _BUTTON, _BELOW, _AFTER = _parts(mrml.to_html(_MJML).content)


def html_part(message: Rendered, *, sender: str, unsubscribe_url: str = "") -> str:
    """The whole HTML document. `sender` is who writes, with the postal address where the law asks for one."""
    card = _card(markup.markup_html(message.blocks, _TEXT), message)
    return _document([card], message.subject, message.lang, sender, unsubscribe_url)


def html_digest(digest: RenderedDigest, *, sender: str, unsubscribe_url: str = "") -> str:
    """The same for a digest: its introduction, then a card for each message with that one's own button."""
    cards = [_card(markup.markup_html(digest.blocks, _TEXT))]
    for _, each in digest.items:
        cards.append(
            _card(f'<h2 class="title">{escape(each.subject)}</h2>{markup.markup_html(each.blocks, _TEXT)}', each)
        )
    return _document(cards, digest.subject, digest.lang, sender, unsubscribe_url)


def text_part(message: Rendered, *, sender: str, unsubscribe_url: str = "") -> str:
    """The same for people who read text."""
    return _signed([markup.markup_text(message.blocks), *_asked(message)], sender, unsubscribe_url)


def text_digest(digest: RenderedDigest, *, sender: str, unsubscribe_url: str = "") -> str:
    """A digest for people who read text: each message under a line of its own, with its own address."""
    parts = [markup.markup_text(digest.blocks)]
    for _, each in digest.items:
        parts += [f"{'-' * 20}\n{each.subject}", markup.markup_text(each.blocks), *_asked(each)]
    return _signed(parts, sender, unsubscribe_url)


_TEXT = ' class="text"'


def _document(cards: Iterable[str], title: str, lang: str, sender: str, unsubscribe_url: str) -> str:
    known = {"lang": escape(lang), "title": escape(title), "footer": _footer(sender, unsubscribe_url)}
    return _filled(_BEFORE, known) + "".join(cards) + _filled(_AFTER, known) + "\n"


def _card(prose: str, asking: Rendered | None = None) -> str:
    body = _filled(_ABOVE, {"body": css_inline.inline_fragment(prose, _PROSE)})
    if asking is not None and asking.action_url:
        known = {"url": escape(asking.action_url), "label": escape(asking.action_label)}
        body += _filled(_BUTTON, known)
    return body + _filled(_BELOW, {})


def _filled(part: LayoutPart, html: Mapping[str, str]) -> str:
    """What stands in a place is HTML, and no place itself whatever it looks like."""
    return "".join(html[piece] if number % 2 else piece for number, piece in enumerate(part))


def _asked(message: Rendered) -> list[str]:
    return [f"{message.action_label}:\n{message.action_url}"] if message.action_url else []


def _signed(parts: list[str], sender: str, unsubscribe_url: str) -> str:
    footer = [line for line in (sender, f"Unsubscribe: {unsubscribe_url}" if unsubscribe_url else "") if line]
    if footer:
        # "-- " opens a signature (RFC 3676 §4.3); readers fold it away.
        parts = [*parts, "-- \n" + "\n".join(footer)]
    return "\n\n".join(parts) + "\n"


def _footer(sender: str, unsubscribe_url: str) -> str:
    lines = [escape(sender)] if sender else []
    if unsubscribe_url:
        lines.append(f'<a href="{escape(unsubscribe_url)}">Unsubscribe</a>')
    return css_inline.inline_fragment("<br>".join(lines), _FOOTER) if lines else ""
