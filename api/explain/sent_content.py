"""Content of a message as it was sent: variant, subject, text and address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import BaseModel

from api.people.sent_messages import readable_body

MASKED: Final = 7
"""Characters of an address without a domain from which on some are shown."""


class SentContentView(BaseModel):
    """What was sent, or is about to be: the stored bytes of the first attempt, as they can be read.

    `address` is masked (`a…@example.com`) unless the key has the scope `operate`.
    """

    variant: str | None
    subject: str | None
    text: str | None
    address: str | None
    masked: bool


def sent_content(row: Mapping[str, Any] | None, *, may_read_addresses: bool) -> dict[str, Any] | None:
    """The content of a ledger row; None where nothing has been rendered yet."""
    if row is None or row["body"] is None:
        return None
    summary = row["summary"] if isinstance(row["summary"], Mapping) else {}
    address = row["address"]
    return {
        "variant": summary.get("variant"),
        "subject": summary.get("subject"),
        "text": readable_body(row["channel"], bytes(row["body"]).decode("utf-8", "replace")),
        "address": address if may_read_addresses or address is None else masked_address(address),
        "masked": address is not None and not may_read_addresses,
    }


def masked_address(address: str) -> str:
    """An address by which its owner recognises it and nobody else can write to it: the first character and the domain."""
    name, at, domain = address.rpartition("@")
    return f"{name[:1]}…@{domain}" if at else f"{address[:3]}…{address[-2:]}" if len(address) > MASKED else "…"
