"""Previews and test sends of templates.

Nothing here decides about a person, and nothing is written: a preview is rendered and forgotten, a test mail goes to the
allow-list only and past the ledger, so that it counts for no cap.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Protocol

from activities.channels.allow_list import AllowList
from activities.channels.email.layout import CLIPPED, html_part, text_part
from activities.channels.email.message import mail_address
from activities.content import markup
from activities.content.rendered import Rendered
from activities.content.rendering import Template
from activities.content.template_source import TemplateSource
from activities.content.templates import Templates
from activities.content.tracked_links import ClickLinks
from activities.ports import AttemptResult, Outgoing, Prepared, Receipt, TemplateFault
from journeys.content.template_info import MissingFields, TemplateInfo
from journeys.content.variants import BASE


class PreviewMailer(Protocol):
    """What mails go by, as far as one to try a message out needs it."""

    def prepare_test(self, outgoing: Outgoing, message: Rendered) -> Prepared:
        """The mail, marked as a test in its subject and a header."""
        ...

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """One attempt."""
        ...

    async def close(self) -> None:
        """Let go of kept connections."""
        ...


@dataclass(frozen=True, slots=True)
class ContentPreview:
    """`templates` reads the catalogue anew, because people edit it. Without `mailer` no test can be sent.

    `anyone`: the mailer is a sink, which reaches nobody, so that anybody may be written to.
    """

    templates: Callable[[], Templates]
    mailer: Callable[[], PreviewMailer] | None = None
    allowed: AllowList = field(default_factory=lambda: AllowList(()))
    anyone: bool = False
    postal: str = ""
    links: ClickLinks | None = None

    def infos(self) -> Mapping[str, TemplateInfo]:
        """What the checker of journeys knows of each."""
        return {name: template.info() for name, template in self.templates().items()}

    def listing(self) -> list[dict[str, Any]]:
        """Every template with its variants. Raises ValueError with every problem of a catalogue that cannot be read."""
        today = datetime.now(UTC).date()
        return [_listed(template, today) for _, template in sorted(self.templates().items())]

    def refused(self, name: str) -> tuple[str, datetime | None] | None:
        """Why a template may not be sent to anybody, and since when, if that is known; None if it may (C11)."""
        template = self.templates().get(name)
        if template is None:
            return f"{name} is not in the catalogue", None
        fault = template.unsendable(template.source, datetime.now(UTC).date())
        if not fault:
            return None
        due = template.matter.review_date
        overdue = template.matter.status == "live"
        return fault, datetime(due.year, due.month, due.day, tzinfo=UTC) + timedelta(days=1) if overdue else None

    def lacking(self, name: str) -> MissingFields:
        """Which fields this template cannot do without on a channel, that this profile and account do not have (H8)."""
        template = self.templates().get(name)

        def lacks(profile: Mapping[str, Any], account: Mapping[str, Any], channel: str) -> tuple[str, ...]:
            if template is None:
                return ()
            outgoing = Outgoing("", name, "", profile, account, {})
            return template.lacking(outgoing, template.chosen(outgoing, channel)[1])

        return lacks

    def preview(self, name: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """How a template looks for the `profile`, `account` and `data` asked about, on `channel`, in `locale`.

        A `variant` asked for by name is shown whoever it is for, drafts too. What is missing is named, and if it cannot be
        done without, `fault` says so. Raises LookupError for an unknown template or variant, ValueError as `listing`.
        """
        template = self.templates()[name]
        outgoing, channel = _outgoing(name, asked), asked["channel"]
        variant, source = _chosen(template, outgoing, asked)
        told: dict[str, Any] = {
            "template": name,
            "channel": channel,
            "variant": variant,
            "status": source.matter.status if template.matter.status == "live" else template.matter.status,
            "missing": template.missing(outgoing, source),
            "warnings": _warnings(template, source, channel),
            "fault": None,
        }
        try:
            message = template.say(outgoing, "", source)
        except TemplateFault as fault:
            return {**told, "subject": None, "html": None, "text": None, "sender": None, "fault": str(fault)}
        html, text = self._dressed(message, channel)
        if len(html.encode()) > CLIPPED:
            told["warnings"].append(f"{len(html.encode()) // 1024} KB of HTML: Gmail shows the first 102 KB only")
        sender = message.sender.model_dump() if message.sender is not None else None
        return {**told, "subject": message.subject, "html": html, "text": text, "sender": sender}

    def _dressed(self, message: Rendered, channel: str) -> tuple[str, str]:
        if channel == "email":
            return html_part(message, sender=self.postal), text_part(message, sender=self.postal)
        return markup.markup_html(message.blocks), markup.markup_text(message.blocks)

    def may_test(self, to: str) -> str:
        """Why no test may go to this address, or nothing."""
        if mail_address(to) != to:
            return "is no address that can be sent to"
        if not self.anyone and not self.allowed.allows(to):
            return "is not on the allow-list: the operator adds it to TENURE_ALLOWED_RECIPIENTS"
        return "" if self.mailer else "cannot be reached: set up mail first (TENURE_SMTP_URL, or TENURE_RESEND_KEY)"

    async def test_send(self, name: str, to: str, asked: Mapping[str, Any]) -> dict[str, Any]:
        """One mail, marked as a test, to an address that `may_test`. `sent` is false with the reason in `detail`.

        Raises LookupError and ValueError as `preview`, and for an address that may not.
        """
        if (why := self.may_test(to)) or self.mailer is None:
            raise ValueError(f"{to} {why}")
        template = self.templates()[name]
        outgoing = _outgoing(name, asked, to)
        variant, source = _chosen(template, outgoing, {**asked, "channel": "email"})
        mailer = self.mailer()
        try:
            prepared = mailer.prepare_test(outgoing, template.say(outgoing, "", source))
            receipt = await mailer.deliver(prepared, outgoing.key)
        except TemplateFault as fault:
            return {"sent": False, "detail": str(fault), "variant": variant, "subject": None, "reference": None}
        finally:
            await mailer.close()
        return {
            "sent": receipt.result is AttemptResult.SENT,
            "detail": receipt.detail,
            "variant": variant,
            "subject": prepared.summary["subject"],
            "reference": prepared.reference,
        }

    def read_click(self, token: str) -> tuple[str, int] | None:
        """The message and the link that a token of ours names."""
        return self.links.read(token) if self.links is not None else None


def _outgoing(name: str, asked: Mapping[str, Any], to: str = "") -> Outgoing:
    key = f"test/{uuid.uuid4().hex}"
    return Outgoing(key, name, to, asked["profile"], asked["account"], asked["data"])


def _chosen(template: Template, outgoing: Outgoing, asked: Mapping[str, Any]) -> tuple[str, TemplateSource]:
    default, wanted = template.rules.locales.default, asked.get("variant")
    if wanted is None:
        found, source = template.chosen(outgoing, asked["channel"], asked.get("locale"))
        return found.name(default), source
    sources = {variant.name(default): source for variant, source in template.variants.items()}
    return wanted, (sources | {BASE: template.source})[wanted]


def _warnings(template: Template, source: TemplateSource, channel: str) -> list[str]:
    today, matter = datetime.now(UTC).date(), source.matter
    found = []
    if template.matter.status != "live" or matter.status != "live":
        status = template.matter.status if template.matter.status != "live" else matter.status
        found.append(f"it is {status}: it is not sent to anybody")
    if matter.review_date < today:
        found.append(f"it was due for review on {matter.review_date}; its owner is {matter.owner}")
    if channel not in matter.channels:
        found.append(f"it is not made for {channel}")
    return found


def _listed(template: Template, today: date) -> dict[str, Any]:
    default = template.rules.locales.default
    matter, action = template.matter, template.matter.action
    return {
        "name": template.name,
        "kind": matter.kind,
        **_governed(template.source, today),
        "title": matter.title,
        "topic": matter.topic,
        "stage": matter.stage,
        "role": matter.role,
        "channels": matter.channels,
        "page": matter.page,
        "subject": matter.subject,
        "action": {"label": action.label, "url": action.url} if action is not None else None,
        "variables": {name: variable.type for name, variable in matter.variables.items()},
        "fields": sorted(template.fields_read),
        "variants": [
            {"name": variant.name(default), **_governed(source, today)} for variant, source in template.variants.items()
        ],
    }


def _governed(source: TemplateSource, today: date) -> dict[str, Any]:
    matter = source.matter
    return {
        "owner": matter.owner,
        "status": matter.status,
        "review_date": matter.review_date,
        "overdue": matter.status != "retired" and matter.review_date < today,
    }
