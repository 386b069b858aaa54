"""Reminder mails to owners of tasks.

The text is fixed and no part of the catalogue. An owner is not a customer, so the mail passes neither gate nor ledger: no
consent is needed and no cap counts it. Outside production the allow-list applies.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from activities.channels.email.message import mail_address
from activities.content.markup import Block, TextRun
from activities.content.rendered import Rendered
from activities.content.templates import Templates
from activities.ports import AttemptResult, Channel, Outgoing, TemplateFault
from journeys.tasks.assignment import Roster
from journeys.tasks.context_summary import context_lines
from worker.loops.reminders import Reminder

NO_ADDRESS = "team.yaml has no mail address for the owner"


class MailNotHandedOver(Exception):
    """The mail was not accepted, or the result is unknown. The provider's turn: the reminder is tried again."""


class DueSoon(Templates):
    """Renders the reminder, for every template name. What its reader needs is in the mail: they may have no key of the API."""

    def __init__(self) -> None:
        super().__init__({})

    def render(
        self,
        outgoing: Outgoing,
        unsubscribe_url: str = "",  # noqa: ARG002 — reminders for colleagues are no mailing list
        channel: str = "",  # noqa: ARG002 — mails only
        locale: str | None = None,  # noqa: ARG002 — the company's own language
    ) -> Rendered:
        """Raises nothing: every value is one line of plain text."""
        data = outgoing.data
        lines = (
            f"Task {data['number']}, {data['task']}, is due on {data['due']}.",
            f"It comes from the journey {data['journey']} and is assigned to you.",
            *data["context"],
            f"On the command line: python -m cli tasks {data['number']}",
        )
        blocks = tuple(Block("paragraph", ((TextRun(line),),)) for line in lines)
        return Rendered(f"Due soon: {data['task']}", blocks, "", "", "tasks")


class ReminderMail:
    """Sends reminders by mail. A reminder sent again has the same Message-ID, and the same idempotency key."""

    def __init__(self, channel: Channel | None, roster: Roster) -> None:
        self._channel, self._roster = channel, roster

    async def __call__(self, reminder: Reminder) -> str | None:
        """None once it is sent, or the reason why it never can be, for the task's log. Raises MailNotHandedOver."""
        address = self._address(reminder.owner)
        if address is None:
            return NO_ADDRESS
        if self._channel is None:
            return "no mail channel is configured"
        key = f"reminder/{reminder.task_id}/{reminder.owner}/{reminder.due_at.isoformat()}"
        try:
            prepared = self._channel.prepare(Outgoing(key, "task-due", address, {}, {}, self._data(reminder)))
        except TemplateFault as fault:  # raised by the allow-list
            return str(fault)
        receipt = await self._channel.deliver(prepared, key)
        match receipt.result:
            case AttemptResult.SENT:
                return None
            case AttemptResult.REFUSED:
                return f"the owner's address was rejected ({receipt.detail})"
            case AttemptResult.TRY_AGAIN | AttemptResult.UNKNOWN:
                raise MailNotHandedOver(receipt.detail)

    async def close(self) -> None:
        """Close kept connections."""
        if self._channel is not None:
            await self._channel.close()

    def _address(self, owner: str) -> str | None:
        """Addresses of team members only: the name of an owner may come from a field that a sender controls."""
        addresses = (mail_address(text) for text in self._roster.team.addresses(owner))
        return next((address for address in addresses if address is not None), None)

    def _data(self, reminder: Reminder) -> dict[str, Any]:
        return {
            "number": str(reminder.task_id),
            "task": reminder.task,
            "journey": reminder.journey,
            "due": self._local_time(reminder.owner, reminder.due_at),
            "context": context_lines(reminder.context, reminder.reason),
        }

    def _local_time(self, owner: str, at: datetime) -> str:
        zone = self._roster.hours(owner).zone
        return f"{at.astimezone(zone):%A %d %B %Y at %H:%M} ({zone.key})"
