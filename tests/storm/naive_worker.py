"""The worker of the control run: it sends, then records. If it dies in between, its retry sends again.

A storm that does not find these duplicates proves nothing. Only this process works so: the product has no such switch.
"""

from __future__ import annotations

from activities.gate import evaluation
from activities.ports import AttemptResult, Outgoing
from journeys.gate.status import Status
from store.messages import ledger
from store.messages.entries import LedgerEntry
from worker.__main__ import main


async def send_then_record(gate_pass: evaluation.GatePass, entry: LedgerEntry) -> None:
    """Deliver inside the step; the row is committed afterwards. Raises RuntimeError so that Temporal retries."""
    channel = gate_pass.deps.channels[entry.via[0]]
    person = gate_pass.recipient.person
    address = channel.address(person.profile, person.key) or ""
    outgoing = Outgoing(entry.key, entry.template, address, person.profile, {}, entry.data, entry.topic)
    prepared = channel.prepare(outgoing)
    receipt = await channel.deliver(prepared, entry.key)
    if receipt.result is not AttemptResult.SENT:
        raise RuntimeError(f"try again: {receipt.detail}")
    entry.channel, entry.reference, entry.address = channel.name, prepared.reference, prepared.address
    entry.status, entry.sent_at, entry.settled_at = Status.SENT, gate_pass.now, gate_pass.now
    await ledger.write_message(gate_pass.connection, entry)


if __name__ == "__main__":
    setattr(evaluation.GatePass, "add", send_then_record)  # noqa: B010 -- only this process works so
    raise SystemExit(main())
