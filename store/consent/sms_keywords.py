"""Keywords in text messages: STOP and START as consent changes and suppressions.

STOP also suppresses the number, which stops even the messages that an opt-out lets through: the person expects silence,
and carriers enforce it. START reverts both, and grants nothing that was not granted before.

A text with an id is applied once, for ever: Twilio's signature has no timestamp, and a replayed START must not lift a
later STOP.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from journeys.consent.changes import ConsentChange
from journeys.consent.opt_out_keywords import OptKeyword, keyword_of
from journeys.consent.precedence import StatedBy
from journeys.gate.verdicts import ANY
from journeys.tokens.address_hash import canonical_address
from store.consent import consents, suppressions
from store.consent.consents import ConsentChangeResult
from store.database import Connection, Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.expressions import any_of
from store.people import subjects
from store.process_clock import current_instant
from store.retry import retry_transaction
from store.schema import inbound_texts
from store.schema import subjects as subjects_table

CHANNEL: Final = "sms"
_key = func.coalesce(subjects_table.c.merged_into, subjects_table.c.key).label("key")
_phone = subjects_table.c.profile["phone"].astext
_BY_PHONE = sql(
    select(_key)
    .distinct()
    .where(
        subjects_table.c.kind == "user",
        _phone.is_not(None),
        any_of(func.regexp_replace(_phone, "[^0-9]", "", "g", type_=Text), "numbers"),
    )
    .order_by(_key)
    .limit(100)
)
_NEW = sql(
    insert(inbound_texts).values(source=bindparam("source"), message_id=bindparam("message")).on_conflict_do_nothing()
)


@dataclass(frozen=True, slots=True)
class KeywordResult:
    """The keyword of a text message, as `wish`, and the changes of everybody with that number.

    Without a keyword (None) a person should read the text. A text that was applied before has no `effects`.
    """

    wish: OptKeyword | None
    effects: tuple[ConsentChangeResult, ...] = ()


async def inbound_text(
    database: Database,
    catalogue: DefinitionRegistry,
    phone: str,
    text: str,
    *,
    source: str = CHANNEL,
    message: str = "",
) -> KeywordResult:
    """Apply a message from this number (E.164), if it is a keyword. `message` is the provider's id of it.

    It is committed when this returns. A text with an id may be passed again at any time.
    """
    wish = keyword_of(text)
    number = canonical_address(CHANNEL, phone)
    if wish is None or not number:
        return KeywordResult(wish if number else None)
    async with database.reading() as connection:
        people = [row["key"] for row in await fetch_all(connection, _BY_PHONE, numbers=[number, f"00{number}"])]
    origin = {
        **({"message": message} if message else {}),
        "phone_hash": catalogue.consent.addresses.digest(CHANNEL, phone),
    }
    granted, proof = False if wish == "stop" else None, {**origin, "word": wish}
    change = ConsentChange(CHANNEL, ANY, granted, source, proof=proof, by=StatedBy.PERSON)

    async def work(connection: Connection) -> tuple[ConsentChangeResult, ...]:
        if message and not await execute(connection, _NEW, source=source, message=message):
            return ()
        changes = {await subjects.canonical_key(connection, key): [change] for key in people}
        # An opt-out by text is never refused: the number may also be somebody's whose time is the real one.
        effects = await consents.change_consents_within(
            connection, catalogue, catalogue.consent.policy, changes, outside=False, suppressing=[(CHANNEL, phone)]
        )
        await _change_suppression(connection, catalogue, phone, wish, source)
        return tuple(effects)

    return KeywordResult(wish, await retry_transaction(database, work))


async def _change_suppression(
    connection: Connection, catalogue: DefinitionRegistry, phone: str, wish: OptKeyword, source: str
) -> None:
    now, addresses = current_instant(), catalogue.consent.addresses
    if wish == "stop":
        await suppressions.suppress(connection, addresses, CHANNEL, phone, reason="stop_word", source=source, at=now)
    else:
        await suppressions.lift(connection, addresses, CHANNEL, phone, by=source, at=now, reason="stop_word")
