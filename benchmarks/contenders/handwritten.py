"""Journeys written by hand as plain Temporal workflows.

One ordinary activity per message, one `wait_condition` with a timeout per state; no database, no governance, no ledger.
The mail has the size of Tenure's and goes to the same provider over kept connections.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    from email.message import EmailMessage

    from aiosmtplib import SMTP

QUEUE = "bare"
WEEK = timedelta(days=7)
SOON = timedelta(seconds=10)
SMTP_CONNECTIONS = 4


@dataclass
class BarePerson:
    """Subject of a journey."""

    email: str
    first_name: str


@dataclass
class MailInput:
    """Input of an activity that sends."""

    to: str
    subject: str
    text: str


class BareMailer:
    """Activities that send by a few kept connections to the provider."""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.free: list[SMTP] = []
        self.slots = asyncio.Semaphore(SMTP_CONNECTIONS)

    @activity.defn
    async def send_mail(self, mail: MailInput) -> None:
        """One mail, with a text and an HTML part."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "Tenure <hello@tenure.example>", mail.to, mail.subject
        message["Message-ID"] = f"<{activity.info().workflow_id}.{activity.info().activity_id}@tenure.example>"
        message.set_content(mail.text)
        message.add_alternative(f"<html><body><p>{mail.text}</p></body></html>", subtype="html")
        async with self.slots:
            smtp = self.free.pop() if self.free else await self._connected()
            await smtp.send_message(message)
            self.free.append(smtp)

    @activity.defn
    async def put_in_inbox(self, mail: MailInput) -> None:
        """An in-app message, which a real one would write to a database."""

    async def _connected(self) -> SMTP:
        smtp = SMTP(hostname=self.host, port=self.port)
        await smtp.connect()
        return smtp


TEXT = "Setting up takes most people about ten minutes, and you can stop at any point: we keep your place.\n" * 6


@workflow.defn
class BareJourney:
    """Three signals, three mails: `three-mails.yaml` by hand."""

    def __init__(self) -> None:
        self.signed_up = self.setup_completed = self.activated = False
        self.state = "new"

    @workflow.run
    async def run(self, person: BarePerson) -> str:
        """Send a mail after each signal; returns `activated`, or `not_activated` after a timeout."""
        await workflow.wait_condition(lambda: self.signed_up, timeout=WEEK)
        self.state = "setting_up"
        await self._mail(person, f"{person.first_name}, your first three steps")
        try:
            await workflow.wait_condition(lambda: self.setup_completed, timeout=WEEK)
            self.state = "learning"
            await self._mail(person, "Everything is set up. This is the quickest way to a first result")
            await workflow.wait_condition(lambda: self.activated, timeout=2 * WEEK)
        except TimeoutError:
            return "not_activated"
        self.state = "done"
        await self._mail(person, "What is still open in your set-up")
        return "activated"

    async def _mail(self, person: BarePerson, subject: str) -> None:
        mail = MailInput(person.email, subject, TEXT)
        await workflow.execute_activity_method(BareMailer.send_mail, mail, start_to_close_timeout=SOON)

    @workflow.signal
    def on_signed_up(self) -> None:
        """The person has made an account."""
        self.signed_up = True

    @workflow.signal
    def on_setup_completed(self) -> None:
        """The product is set up."""
        self.setup_completed = True

    @workflow.signal
    def on_activated(self) -> None:
        """The person has got the value they came for."""
        self.activated = True

    @workflow.query
    def where(self) -> str:
        """The state the journey is in."""
        return self.state


@workflow.defn
class BareTips:
    """An in-app message for every signal: `tips.yaml` by hand."""

    def __init__(self) -> None:
        self.wanted = 0

    @workflow.run
    async def run(self, person: BarePerson) -> int:
        """Send a tip for every signal; returns their number after 90 days without one."""
        sent = 0
        while True:
            try:
                await workflow.wait_condition(lambda: self.wanted > 0, timeout=90 * timedelta(days=1))
            except TimeoutError:
                return sent
            self.wanted -= 1
            mail = MailInput(person.email, f"{person.first_name}, your first three steps", TEXT)
            await workflow.execute_activity_method(BareMailer.put_in_inbox, mail, start_to_close_timeout=SOON)
            sent += 1

    @workflow.signal
    def on_tip_wanted(self) -> None:
        """The person asks for a tip."""
        self.wanted += 1


@workflow.defn
class BareDaily:
    """A signal a day: `daily.yaml` by hand. It does not continue as new; Temporal's samples of journeys do not either."""

    def __init__(self) -> None:
        self.unseen = 0
        self.days = 0

    @workflow.run
    async def run(self) -> int:
        """Count days; returns their number after a year without one."""
        while True:
            try:
                await workflow.wait_condition(lambda: self.unseen > 0, timeout=timedelta(days=365))
            except TimeoutError:
                return self.days
            self.days += self.unseen
            self.unseen = 0

    @workflow.signal
    def on_day_used(self) -> None:
        """One more day."""
        self.unseen += 1

    @workflow.query
    def counted(self) -> int:
        """Number of days counted."""
        return self.days
