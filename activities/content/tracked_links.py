"""Tracked links: sealed tokens that name a message and one of its links.

A token holds no URL. The URL is in the ledger's row since the message was rendered, so a token cannot be an open redirect and
reveals nothing. A message is named by its key, or by the hash of its key where that is the provider's reference: such a token has
67 characters, which matters in a text message.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from activities.content.digest import RenderedDigest
from activities.content.markup import Block, TextRun
from activities.content.rendered import Rendered

PATH: Final = "c"
MAX_TOKEN: Final = 2_000
"""Characters; longer tokens are not read."""
_PURPOSE: Final = b"tenure.click.1"
_SHORT: Final = b"tenure.click.2"
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_LINK_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class ClickLink:
    """URL of one link; in a digest also the key of the message that it belongs to."""

    url: str
    key: str | None = None

    def summary(self) -> dict[str, Any]:
        """For the ledger."""
        return {"url": self.url} if self.key is None else {"url": self.url, "key": self.key}


class ClickLinks:
    """Encrypts tokens with the first key and reads those of all keys.

    The encryption is deterministic (RFC 5297): a message always has the same links.
    """

    def __init__(self, keys: Sequence[str], base: str, pages: str | None = None) -> None:
        """`base` is the http(s) address that serves `/c/{token}`. Raises ValueError without a key.

        Links below `pages` are not tracked: our own signed pages record their use themselves.
        """
        if not all(keys) or not keys:
            raise ValueError("tracked links need a key")
        self._base = base.rstrip("/")
        self._pages = f"{pages.rstrip('/')}/" if pages else None
        self._ciphers = [AESSIV(hashlib.sha512(_PURPOSE + key.encode()).digest()) for key in keys]

    def address(self, name: str, link: int) -> str:
        """URL of a message's n-th link."""
        return f"{self._base}/{PATH}/{self.token(name, link)}"

    def token(self, name: str, link: int) -> str:
        """Token for a message and a link; `name` is the message's key, or the hash of it."""
        if _HASH.fullmatch(name):
            sealed = self._ciphers[0].encrypt(link.to_bytes(_LINK_BYTES) + bytes.fromhex(name), [_SHORT])
        else:
            sealed = self._ciphers[0].encrypt(f"{link} {name}".encode(), [_PURPOSE])
        return urlsafe_b64encode(sealed).decode().rstrip("=")

    def read(self, token: str) -> tuple[str, int] | None:
        """The message's key or its hash, and the link's number; None for a token that we have not made."""
        if len(token) > MAX_TOKEN:
            return None
        try:
            sealed = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except ValueError:
            return None
        return next(filter(None, (_opened(cipher, sealed) for cipher in self._ciphers)), None)

    def leads_to_us(self, url: str) -> bool:
        """Whether the URL is one of our own signed pages."""
        return self._pages is not None and url.startswith(self._pages)

    def follow(self, message: Rendered, name: str) -> tuple[Rendered, tuple[ClickLink, ...]]:
        """The message with tracked links, and the original links in order."""
        numbering = _LinkNumbering(self, name)
        return numbering.track(message, None), tuple(numbering.links)

    def follow_digest(self, digest: RenderedDigest, key: str) -> tuple[RenderedDigest, tuple[ClickLink, ...]]:
        """The same for a digest, whose links have the key of the message that they belong to."""
        numbering = _LinkNumbering(self, key)
        blocks = numbering.blocks(digest.blocks, None)
        items = tuple((outgoing, numbering.track(message, outgoing.key)) for outgoing, message in digest.items)
        return replace(digest, blocks=blocks, items=items), tuple(numbering.links)


class _LinkNumbering:
    """Replaces the links of one message and numbers them in order."""

    def __init__(self, links: ClickLinks, name: str) -> None:
        self._tracked, self._name = links, name
        self.links: list[ClickLink] = []

    def track(self, message: Rendered, of: str | None) -> Rendered:
        url = self._url(message.action_url, of)
        return replace(message, blocks=self.blocks(message.blocks, of), action_url=url)

    def blocks(self, blocks: tuple[Block, ...], of: str | None) -> tuple[Block, ...]:
        return tuple(
            replace(block, items=tuple(tuple(self._span(span, of) for span in item) for item in block.items))
            for block in blocks
        )

    def _span(self, span: TextRun, of: str | None) -> TextRun:
        # A URL written out as text must be the link's target: mail programs warn of anything else.
        if span.style != "link" or span.text.strip() == span.url:
            return span
        return replace(span, url=self._url(span.url, of))

    def _url(self, url: str, of: str | None) -> str:
        if not url.startswith(("https://", "http://")) or self._tracked.leads_to_us(url):
            return url
        self.links.append(ClickLink(url, of))
        return self._tracked.address(self._name, len(self.links) - 1)


def track_links(clicks: ClickLinks | None, message: Rendered, name: str) -> tuple[Rendered, Mapping[str, Any]]:
    """The message with tracked links, and their summary for the ledger; unchanged without `clicks`."""
    if clicks is None:
        return message, {}
    message, links = clicks.follow(message, name)
    return message, summary_of_links(links)


def summary_of_links(links: tuple[ClickLink, ...]) -> Mapping[str, Any]:
    """Summary of links for the ledger; empty if there are none."""
    return {"links": [link.summary() for link in links]} if links else {}


def _opened(cipher: AESSIV, sealed: bytes) -> tuple[str, int] | None:
    if (short := _decrypted(cipher, sealed, _SHORT)) is not None:
        return short[_LINK_BYTES:].hex(), int.from_bytes(short[:_LINK_BYTES])
    if (long := _decrypted(cipher, sealed, _PURPOSE)) is None:
        return None
    link, _, key = long.decode().partition(" ")
    return key, int(link)


def _decrypted(cipher: AESSIV, sealed: bytes, purpose: bytes) -> bytes | None:
    try:
        return cipher.decrypt(sealed, [purpose])
    except (InvalidTag, ValueError):
        return None
