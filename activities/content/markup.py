"""Markdown subset of template bodies, rendered as HTML and as text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Literal

from activities.content.link_targets import LinkTargets
from activities.content.liquid import unprotected

_HEADING = re.compile(r"#{1,3} +")
_BULLET = re.compile(r"[-*] +")
_NUMBER = re.compile(r"\d{1,3}[.)] +")
# Lengths are bounded so that no text makes the search quadratic.
_INLINE = re.compile(
    r"\[(?P<label>[^\[\]]{1,500})\]\((?P<url>[^()]{0,2000})\)"
    r"|\*\*(?P<strong>[^*]{1,2000})\*\*"
    r"|(?<!\w)_(?P<emphasis>[^_]{1,2000})_(?!\w)"
)

BlockKind = Literal["paragraph", "heading", "bullets", "numbers"]


@dataclass(frozen=True, slots=True)
class TextRun:
    """A run of plain text in one style; `url` is set for a link."""

    text: str
    style: Literal["plain", "strong", "emphasis", "link"] = "plain"
    url: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph or heading with one item, or a list with an item for each line."""

    kind: BlockKind
    items: tuple[tuple[TextRun, ...], ...]


def parse_markup(source: str, targets: LinkTargets) -> tuple[Block, ...]:
    """Blocks of a rendered body. Raises TemplateFault for a link that may not be sent."""
    return tuple(Block(kind, tuple(_spans(item, targets) for item in items)) for kind, items in _blocks(source))


def markup_html(blocks: Iterable[Block], link_style: str = "") -> str:
    """HTML of p, h2, ul, ol, li, a, strong, em and br only; `link_style` is added to each link."""
    return "\n".join(_html_block(block, link_style) for block in blocks)


def markup_text(blocks: Iterable[Block]) -> str:
    """Plain text: blocks separated by an empty line, URLs written out."""
    return "\n\n".join(_text_block(block) for block in blocks)


def _blocks(source: str) -> list[tuple[BlockKind, list[str]]]:
    blocks: list[tuple[BlockKind, list[str]]] = []
    new_block = True
    for line in source.split("\n"):
        stripped = line.strip()
        if not stripped:
            new_block = True
            continue
        kind, content = _kind(stripped)
        starts_item = kind in ("bullets", "numbers")
        same_list = bool(blocks) and starts_item and blocks[-1][0] == kind
        if same_list:
            blocks[-1][1].append(content)
        elif new_block or kind != "paragraph" or blocks[-1][0] == "heading":
            blocks.append((kind, [content]))
        else:
            blocks[-1][1][-1] += _joint(blocks[-1][1][-1]) + content
        new_block = False
    return blocks


def _joint(before: str) -> str:
    """Separator of two lines of a paragraph: a space, or a line break after a backslash."""
    return "\n" if before.endswith("\\") else " "


def _kind(line: str) -> tuple[BlockKind, str]:
    if match := _HEADING.match(line):
        return "heading", line[match.end() :]
    if match := _BULLET.match(line):
        return "bullets", line[match.end() :]
    if match := _NUMBER.match(line):
        return "numbers", line[match.end() :]
    return "paragraph", line


def _spans(item: str, targets: LinkTargets) -> tuple[TextRun, ...]:
    spans: list[TextRun] = []
    end = 0
    for match in _INLINE.finditer(item):
        if match.start() > end:
            spans.append(_plain(item[end : match.start()]))
        spans.append(_styled(match, targets))
        end = match.end()
    if end < len(item):
        spans.append(_plain(item[end:]))
    return tuple(spans)


def _plain(source: str) -> TextRun:
    return TextRun(unprotected(source.replace("\\\n", "\n").removesuffix("\\")))


def _styled(match: re.Match[str], targets: LinkTargets) -> TextRun:
    if match["strong"]:
        return TextRun(unprotected(match["strong"]), "strong")
    if match["emphasis"]:
        return TextRun(unprotected(match["emphasis"]), "emphasis")
    label, url = unprotected(match["label"]), match["url"].strip()
    # `unsubscribe_url` is empty in the in-app inbox; the link's text stays.
    return TextRun(label, "link", targets.checked(url)) if url else TextRun(label)


def _html_block(block: Block, link_style: str) -> str:
    items = ["".join(_html_span(span, link_style) for span in item) for item in block.items]
    match block.kind:
        case "paragraph":
            return f"<p>{items[0]}</p>"
        case "heading":
            return f"<h2>{items[0]}</h2>"
        case "bullets":
            return "<ul>" + "".join(f"<li>{item}</li>" for item in items) + "</ul>"
        case "numbers":
            return "<ol>" + "".join(f"<li>{item}</li>" for item in items) + "</ol>"


def _html_span(span: TextRun, link_style: str) -> str:
    inner = escape(span.text).replace("\r\n", "\n").replace("\n", "<br>")
    match span.style:
        case "plain":
            return inner
        case "strong":
            return f"<strong>{inner}</strong>"
        case "emphasis":
            return f"<em>{inner}</em>"
        case "link":
            return f'<a href="{escape(span.url)}"{link_style}>{inner}</a>'


def _text_block(block: Block) -> str:
    items = ["".join(_text_span(span) for span in item) for item in block.items]
    match block.kind:
        case "paragraph" | "heading":
            return items[0]
        case "bullets":
            return "\n".join(f"- {item}" for item in items)
        case "numbers":
            return "\n".join(f"{number}. {item}" for number, item in enumerate(items, 1))


def _text_span(span: TextRun) -> str:
    if span.style == "link" and span.text != span.url:
        return f"{span.text} ({span.url})"
    return span.text
