"""The control run's worker: it sends, then records. When it dies in between, its retry sends again.

The storm must find that, or it would find nothing. Only this process works so: the product has no such switch.
"""

from __future__ import annotations

from datetime import datetime

from activities import gate
from activities.house import House
from activities.ports import Delivered, Outgoing
from store import ledger
from store.database import Connection
from store.ledger import Entry
from store.subjects import Subject
from worker.__main__ import main


async def send_then_record(
    house: House,
    connection: Connection,
    entry: Entry,
    person: Subject,
    account: Subject | None,
    now: datetime,
) -> bool:
    """Deliver inside the step; the row is committed afterwards. Raises RuntimeError to be tried again."""
    channel = house.channels[entry.via[0]]
    address = channel.address(person.profile, person.key) or ""
    outgoing = Outgoing(entry.key, entry.template, address, person.profile, {}, entry.data, entry.topic)
    prepared = channel.prepare(outgoing)
    receipt = await channel.deliver(prepared, entry.key)
    if receipt.result is not Delivered.SENT:
        raise RuntimeError(f"try again: {receipt.detail}")
    entry.channel, entry.reference, entry.address = channel.name, prepared.reference, prepared.address
    entry.status, entry.sent_at, entry.settled_at = "sent", now, now
    await ledger.write(connection, entry)
    return False


if __name__ == "__main__":
    gate.weigh = send_then_record
    raise SystemExit(main())
