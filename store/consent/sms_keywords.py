"""Keywords in text messages: STOP and START as consent changes and suppressions.

The number is suppressed too, which also stops what a general no lets through: whoever texts STOP expects silence, and
carriers enforce it. START takes both back, and is no yes to anything that was never asked for.

A text with an id is acted on once, for ever: Twilio's signature has no time in it, and a START that somebody kept must not
lift a STOP that came later.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import insert

from journeys.consent.changes import ConsentChange
from journeys.consent.opt_out_keywords import OptKeyword, keyword_of
from journeys.gate.verdicts import ANY
from journeys.tokens.address_hash import canonical_address
from store.consent import consents, suppressions
from store.consent.consents import ConsentChangeResult
from store.database import Connection, Database, execute, fetch_all, sql
from store.definitions.registry import DefinitionRegistry
from store.expressions import any_of
from store.people import subjects
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
    """What a text message was taken for; `wish` None: for a person to read. `effects` of everybody with that number.

    A text that was acted on before has none.
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
    """Act on a message from this number (E.164), if it is one of the words. `message`: the provider's id of it.

    The commit is done when this returns; a text with an id may be handed in again at any time without harm.
    """
    wish = keyword_of(text)
    number = canonical_address(CHANNEL, phone)
    if wish is None or not number:
        return KeywordResult(wish if number else None)
    async with database.reading() as connection:
        people = [item["key"] for item in await fetch_all(connection, _BY_PHONE, numbers=[number, f"00{number}"])]
    said = {
        **({"message": message} if message else {}),
        "phone_hash": catalogue.consent.addresses.digest(CHANNEL, phone),
    }
    change = ConsentChange(CHANNEL, ANY, False if wish == "stop" else None, source, proof={**said, "word": wish})

    async def work(connection: Connection) -> tuple[ConsentChangeResult, ...]:
        if message and not await execute(connection, _NEW, source=source, message=message):
            return ()
        effects = []
        # In key order, and the address last (`store/locks.py`): two of these about the same family lock alike.
        for person in sorted([await subjects.canonical_key(connection, key) for key in people]):
            policy = catalogue.consent.policy
            effects.append(await consents.change_consents_within(connection, catalogue, policy, person, [change]))
        await _address(connection, catalogue, phone, wish, source)
        return tuple(effects)

    return KeywordResult(wish, await retry_transaction(database, work))


async def _address(
    connection: Connection, catalogue: DefinitionRegistry, phone: str, wish: OptKeyword, source: str
) -> None:
    now, addresses = datetime.now(UTC), catalogue.consent.addresses
    if wish == "stop":
        await suppressions.suppress(connection, addresses, CHANNEL, phone, reason="stop_word", source=source, at=now)
    else:
        await suppressions.lift(connection, addresses, CHANNEL, phone, by=source, at=now, reason="stop_word")
