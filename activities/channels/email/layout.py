"""Layout of mails: a column of cards with one button each, in MJML.

`layout.mjml` becomes HTML once, when this module is imported; a message then fills its placeholders. Styles of the author's text
are inlined, because mail clients drop style sheets.
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
"""Bytes of HTML beyond which Gmail cuts a mail and hides its footer with the unsubscribe link."""

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
_PLACEHOLDER = re.compile("@(lang|title|body|url|label|footer)@")


LayoutPart = tuple[str, ...]
"""A part of the layout, split at its placeholders: text, name of a placeholder, text, and so on."""


def _parts(html: str) -> tuple[LayoutPart, LayoutPart, LayoutPart, LayoutPart, LayoutPart]:
    """The layout before the card, the card above its button, the button, the card below it, and the rest."""
    before, card, after = re.split("<!--/?card-->", html)
    above, button, below = re.split("<!--/?button-->", card)
    return _split(before), _split(above), _split(button), _split(below), _split(after)


def _split(html: str) -> LayoutPart:
    return tuple(_PLACEHOLDER.split(html))


_MJML = Path(__file__).with_name("layout.mjml").read_text("utf-8")
_BEFORE, _ABOVE, _BUTTON, _BELOW, _AFTER = _parts(mrml.to_html(_MJML).content)


def html_part(message: Rendered, *, sender: str, unsubscribe_url: str = "") -> str:
    """The HTML document. `sender` is the footer's text: company and postal address (CAN-SPAM)."""
    card = _card(markup.markup_html(message.blocks, _TEXT), message)
    return _document([card], message.subject, message.lang, sender, unsubscribe_url)


def html_digest(digest: RenderedDigest, *, sender: str, unsubscribe_url: str = "") -> str:
    """The HTML document of a digest: its introduction, then a card with its own button for each message."""
    cards = [_card(markup.markup_html(digest.blocks, _TEXT))]
    for _, message in digest.items:
        title = f'<h2 class="title">{escape(message.subject)}</h2>'
        cards.append(_card(title + markup.markup_html(message.blocks, _TEXT), message))
    return _document(cards, digest.subject, digest.lang, sender, unsubscribe_url)


def text_part(message: Rendered, *, sender: str, unsubscribe_url: str = "") -> str:
    """The text part of a mail."""
    return _with_footer([markup.markup_text(message.blocks), *_action(message)], sender, unsubscribe_url)


def text_digest(digest: RenderedDigest, *, sender: str, unsubscribe_url: str = "") -> str:
    """The text part of a digest: each message under its own heading, with its own link."""
    parts = [markup.markup_text(digest.blocks)]
    for _, message in digest.items:
        parts += [f"{'-' * 20}\n{message.subject}", markup.markup_text(message.blocks), *_action(message)]
    return _with_footer(parts, sender, unsubscribe_url)


_TEXT = ' class="text"'


def _document(cards: Iterable[str], title: str, lang: str, sender: str, unsubscribe_url: str) -> str:
    values = {"lang": escape(lang), "title": escape(title), "footer": _footer(sender, unsubscribe_url)}
    return _filled(_BEFORE, values) + "".join(cards) + _filled(_AFTER, values) + "\n"


def _card(prose: str, message: Rendered | None = None) -> str:
    body = _filled(_ABOVE, {"body": css_inline.inline_fragment(prose, _PROSE)})
    if message is not None and message.action_url:
        body += _filled(_BUTTON, {"url": escape(message.action_url), "label": escape(message.action_label)})
    return body + _filled(_BELOW, {})


def _filled(part: LayoutPart, html: Mapping[str, str]) -> str:
    """A part with its placeholders replaced by HTML, in which no further placeholder is looked for."""
    return "".join(html[piece] if number % 2 else piece for number, piece in enumerate(part))


def _action(message: Rendered) -> list[str]:
    return [f"{message.action_label}:\n{message.action_url}"] if message.action_url else []


def _with_footer(parts: list[str], sender: str, unsubscribe_url: str) -> str:
    footer = [line for line in (sender, f"Unsubscribe: {unsubscribe_url}" if unsubscribe_url else "") if line]
    if footer:
        # "-- " starts a signature (RFC 3676 §4.3), which mail clients fold.
        parts = [*parts, "-- \n" + "\n".join(footer)]
    return "\n\n".join(parts) + "\n"


def _footer(sender: str, unsubscribe_url: str) -> str:
    lines = [escape(sender)] if sender else []
    if unsubscribe_url:
        lines.append(f'<a href="{escape(unsubscribe_url)}">Unsubscribe</a>')
    return css_inline.inline_fragment("<br>".join(lines), _FOOTER) if lines else ""
