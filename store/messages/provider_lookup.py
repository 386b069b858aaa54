"""Message that a provider's webhook refers to: by reference, mark or address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Text, bindparam, exists, func, not_, or_, select
from sqlalchemy.dialects.postgresql import distinct_on

from store.database import Connection, fetch_all, fetch_one, sql
from store.people.subjects import canonical_key
from store.schema import events, messages

_message = select(messages.c.id, messages.c.recipient, messages.c.channel, messages.c.template, messages.c.journey)
_last = _message.add_columns(messages.c.address).order_by(messages.c.id.desc()).limit(1)
_BY_REFERENCE = sql(_last.where(messages.c.reference == bindparam("reference"), messages.c.channel != "in_app"))
_field = bindparam("field", type_=Text)
_BY_ADDRESS = sql(
    _last.where(
        messages.c.channel == bindparam("channel"),
        messages.c.address == bindparam("address"),
        messages.c.channel.in_(("sms", "webinar")),
        or_(_field.is_(None), messages.c.data.op("->>")(_field) == bindparam("value", type_=Text)),
    )
)
_attended = exists().where(
    events.c.subject_key == messages.c.recipient,
    events.c.name == "webinar_attended",
    events.c.data["webinar_id"].astext == bindparam("webinar"),
)
_ABSENT = sql(
    _message.ext(distinct_on(messages.c.recipient))
    .where(
        messages.c.channel == "webinar",
        messages.c.data["webinar_id"].astext == bindparam("webinar"),
        messages.c.status == "sent",
        not_(_attended),
    )
    .order_by(messages.c.recipient, messages.c.id.desc())
)
# The mark is a prefix of the SHA-256 of our key, which is all that is shown outside: enough among a person's messages.
_hash = func.encode(func.sha256(func.convert_to(messages.c.key, "UTF8")), "hex")
_BY_MARK = sql(
    _last.where(messages.c.recipient == bindparam("person"), _hash.like(bindparam("mark", type_=Text) + "%"))
)

ProviderReference = Mapping[str, Any]
"""A message: `id`, `recipient` (the person's key), `channel`, `template`, `journey`."""


async def find_by_reference(connection: Connection, reference: str) -> ProviderReference | None:
    """The message with this provider's reference."""
    return await fetch_one(connection, _BY_REFERENCE, reference=reference)


async def find_by_reply_mark(connection: Connection, person: str, mark: str) -> ProviderReference | None:
    """The message that a reply address names."""
    return await fetch_one(connection, _BY_MARK, person=await canonical_key(connection, person), mark=mark)


async def find_by_address(
    connection: Connection, channel: str, address: str, field: str | None = None, value: str = ""
) -> ProviderReference | None:
    """The last message to an address by `sms` or `webinar`; with `field`, one whose data has that value there."""
    return await fetch_one(connection, _BY_ADDRESS, channel=channel, address=address, field=field, value=value)


async def webinar_no_shows(connection: Connection, webinar: str) -> list[ProviderReference]:
    """One message for each person whom we registered for a webinar and who did not attend."""
    return await fetch_all(connection, _ABSENT, webinar=webinar)
