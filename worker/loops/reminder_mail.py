"""How a reminder reaches its owner: a mail by the way that mails go here, to the address that `team.yaml` has of them.

It is ours, and no content of the catalogue. An owner is no customer, so it passes neither gate nor ledger: nobody's consent is
asked and no cap counts it. Outside production the allow-list holds for owners as for everybody.
"""

from __future__ import annotations

from datetime import datetime

from activities.channels.email.message import mail_address
from activities.content.markup import Block, TextRun
from activities.content.rendering import Rendered
from activities.content.templates import Templates
from activities.ports import AttemptResult, Channel, Outgoing, TemplateFault
from journeys.tasks.assignment import Roster
from worker.loops.reminders import Reminder

NO_ADDRESS = "the team's file has no address of theirs"


class MailNotHandedOver(Exception):
    """The mail could not be handed over now, or nobody saw how that ended. The relay's or the provider's turn."""


class DueSoon(Templates):
    """The one mail, whatever it is called. It names the task and nobody whom it is about."""

    def __init__(self) -> None:
        super().__init__({})

    def render(
        self,
        outgoing: Outgoing,
        unsubscribe_url: str = "",  # noqa: ARG002 -- a colleague's reminders are no list
        channel: str = "",  # noqa: ARG002 -- mails only
        locale: str | None = None,  # noqa: ARG002 -- the company's own language
    ) -> Rendered:
        """Raises nothing: every value is one line of plain text."""
        data = outgoing.data
        said = (
            f"Task {data['number']}, {data['task']}, is due on {data['due']}.",
            f"{data['journey']} asks for it, and you have it.",
        )
        blocks = tuple(Block("paragraph", ((TextRun(line),),)) for line in said)
        return Rendered(f"Due soon: {data['task']}", blocks, "Open the task" * bool(data["url"]), data["url"], "tasks")


class ReminderMail:
    """Tells owners by mail. The same reminder told again has the same Message-ID, and at a provider with keys the same key."""

    def __init__(self, channel: Channel | None, roster: Roster, public_url: str | None = None) -> None:
        self._channel, self._roster, self._base = channel, roster, (public_url or "").rstrip("/")

    async def __call__(self, reminder: Reminder) -> str | None:
        """None once it is handed over; why it never will be, in words for the task's log. Raises NotReached: try again."""
        address = self._address(reminder.owner)
        if address is None:
            return NO_ADDRESS
        if self._channel is None:
            return "no way for mails is set"
        key = f"reminder/{reminder.task_id}/{reminder.owner}/{reminder.due_at.isoformat()}"
        try:
            prepared = self._channel.prepare(Outgoing(key, "task-due", address, {}, {}, self._data(reminder)))
        except TemplateFault as fault:  # the allow-list's word, above all
            return str(fault)
        receipt = await self._channel.deliver(prepared, key)
        match receipt.result:
            case AttemptResult.SENT:
                return None
            case AttemptResult.REFUSED:
                return f"their address was refused ({receipt.detail})"
            case AttemptResult.TRY_AGAIN | AttemptResult.UNKNOWN:
                raise MailNotHandedOver(receipt.detail)

    async def close(self) -> None:
        """Let go of kept connections."""
        if self._channel is not None:
            await self._channel.close()

    def _address(self, owner: str) -> str | None:
        """People of the team only: an owner's word may come from a field that somebody can send us."""
        known = (mail_address(each) for each in self._roster.team.addresses(owner))
        return next((address for address in known if address is not None), None)

    def _data(self, reminder: Reminder) -> dict[str, str]:
        return {
            "number": str(reminder.task_id),
            "task": reminder.task,
            "journey": reminder.journey,
            "due": self._wall(reminder.owner, reminder.due_at),
            "url": f"{self._base}/v1/tasks/{reminder.task_id}" if self._base else "",
        }

    def _wall(self, owner: str, at: datetime) -> str:
        zone = self._roster.hours(owner).zone
        return f"{at.astimezone(zone):%A %d %B %Y at %H:%M} ({zone.key})"
