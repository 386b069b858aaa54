"""Tracked links: sealed tokens that name a message and one of its links.

The token holds no address. Where it leads stands in the ledger's row, put there when the message was rendered, so that a
token can only ever lead where that message led: never an open redirect, and nothing to read for whoever sees it.

A message is named by its key or, where the provider's reference is the key's digest, by that: such a token has 67 characters,
which counts in a short message.
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
LONGEST: Final = 2_000
"""Characters of a token that are looked at."""
_PURPOSE: Final = b"tenure.click.1"
_BRIEF: Final = b"tenure.click.2"
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_LINK_BYTES: Final = 2


@dataclass(frozen=True, slots=True)
class ClickLink:
    """Where one link leads, and of a digest, whose it is."""

    url: str
    key: str | None = None

    def told(self) -> dict[str, Any]:
        """As the ledger's summary keeps it."""
        return {"url": self.url} if self.key is None else {"url": self.url, "key": self.key}


class ClickLinks:
    """Makes tokens under the first key and reads those of all. Deterministic (RFC 5297): a message always has the same links."""

    def __init__(self, keys: Sequence[str], base: str, pages: str | None = None) -> None:
        """`base` is the http(s) address below which `/c/{token}` is answered. Raises ValueError for no key.

        Links below `pages` are left alone: they are signed pages of our own, which tell themselves what was done there.
        """
        if not all(keys) or not keys:
            raise ValueError("a key is needed to seal links with")
        self._base = base.rstrip("/")
        self._pages = f"{pages.rstrip('/')}/" if pages else None
        self._seals = [AESSIV(hashlib.sha512(_PURPOSE + key.encode()).digest()) for key in keys]

    def address(self, name: str, link: int) -> str:
        """The address of a message's n-th link."""
        return f"{self._base}/{PATH}/{self.token(name, link)}"

    def token(self, name: str, link: int) -> str:
        """`name` is the message's key, or the digest of it."""
        if _DIGEST.fullmatch(name):
            sealed = self._seals[0].encrypt(link.to_bytes(_LINK_BYTES) + bytes.fromhex(name), [_BRIEF])
        else:
            sealed = self._seals[0].encrypt(f"{link} {name}".encode(), [_PURPOSE])
        return urlsafe_b64encode(sealed).decode().rstrip("=")

    def read(self, token: str) -> tuple[str, int] | None:
        """The message's key, or the digest of it, and the link's number; None for a token that we have not made."""
        if len(token) > LONGEST:
            return None
        try:
            sealed = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
        except ValueError:
            return None
        return next(filter(None, (_opened(seal, sealed) for seal in self._seals)), None)

    def leads_to_us(self, url: str) -> bool:
        """Whether it is a page of our own."""
        return self._pages is not None and url.startswith(self._pages)

    def follow(self, message: Rendered, name: str) -> tuple[Rendered, tuple[ClickLink, ...]]:
        """The message with its links through us, and where each leads."""
        trail = _Trail(self, name)
        return trail.through(message, None), tuple(trail.links)

    def follow_together(self, digest: RenderedDigest, key: str) -> tuple[RenderedDigest, tuple[ClickLink, ...]]:
        """The same for a digest: a link knows whose it is."""
        trail = _Trail(self, key)
        blocks = trail.blocks(digest.blocks, None)
        items = tuple((outgoing, trail.through(each, outgoing.key)) for outgoing, each in digest.items)
        return replace(digest, blocks=blocks, items=items), tuple(trail.links)


class _Trail:
    """Numbers the links of one message as they come."""

    def __init__(self, links: ClickLinks, name: str) -> None:
        self._made, self._name = links, name
        self.links: list[ClickLink] = []

    def through(self, message: Rendered, of: str | None) -> Rendered:
        url = self._through(message.action_url, of)
        return replace(message, blocks=self.blocks(message.blocks, of), action_url=url)

    def blocks(self, blocks: tuple[Block, ...], of: str | None) -> tuple[Block, ...]:
        return tuple(
            replace(block, items=tuple(tuple(self._span(span, of) for span in item) for item in block.items))
            for block in blocks
        )

    def _span(self, span: TextRun, of: str | None) -> TextRun:
        # An address that is written out must lead where it says: mail programs warn of anything else.
        if span.style != "link" or span.text.strip() == span.url:
            return span
        return replace(span, url=self._through(span.url, of))

    def _through(self, url: str, of: str | None) -> str:
        if not url.startswith(("https://", "http://")) or self._made.leads_to_us(url):
            return url
        self.links.append(ClickLink(url, of))
        return self._made.address(self._name, len(self.links) - 1)


def track_links(clicks: ClickLinks | None, message: Rendered, name: str) -> tuple[Rendered, Mapping[str, Any]]:
    """The message with its links through us, and what its summary keeps of them; as it is where no clicks are heard of."""
    if clicks is None:
        return message, {}
    message, links = clicks.follow(message, name)
    return message, summary_of_links(links)


def summary_of_links(links: tuple[ClickLink, ...]) -> Mapping[str, Any]:
    """What a summary keeps of them; nothing if there are none."""
    return {"links": [link.told() for link in links]} if links else {}


def _opened(seal: AESSIV, sealed: bytes) -> tuple[str, int] | None:
    if (brief := _unsealed(seal, sealed, _BRIEF)) is not None:
        return brief[_LINK_BYTES:].hex(), int.from_bytes(brief[:_LINK_BYTES])
    if (plain := _unsealed(seal, sealed, _PURPOSE)) is None:
        return None
    link, _, key = plain.decode().partition(" ")
    return key, int(link)


def _unsealed(seal: AESSIV, sealed: bytes, purpose: bytes) -> bytes | None:
    try:
        return seal.decrypt(sealed, [purpose])
    except (InvalidTag, ValueError):
        return None
