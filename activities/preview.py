"""Previews and test sends of templates.

Nothing is recorded. A test mail goes to the allow-list only and passes the ledger by, so it counts for no cap.
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
from activities.content.template import Template
from activities.content.template_source import TemplateSource
from activities.content.templates import Templates
from activities.content.tracked_links import ClickLinks
from activities.ports import AttemptResult, Confirmation, Outgoing, Prepared, Receipt, TemplateFault
from journeys.content.template_info import MissingFields, TemplateInfo
from journeys.content.variants import BASE


class PreviewMailer(Protocol):
    """The part of a mail channel that test sends need."""

    def prepare_test(self, outgoing: Outgoing, message: Rendered) -> Prepared:
        """The mail, marked as a test in its subject and in a header."""
        ...

    async def deliver(self, prepared: Prepared, key: str) -> Receipt:
        """One attempt."""
        ...

    async def close(self) -> None:
        """Close kept connections."""
        ...


@dataclass(frozen=True, slots=True)
class ContentPreview:
    """Reads the catalogue at each call, because people edit it. Without `mailer` there are no test sends.

    With `anyone` the mailer is a sink, so that any address is allowed.
    """

    templates: Callable[[], Templates]
    mailer: Callable[[], PreviewMailer] | None = None
    allowed: AllowList = field(default_factory=lambda: AllowList(()))
    anyone: bool = False
    postal: str = ""
    links: ClickLinks | None = None

    def infos(self) -> Mapping[str, TemplateInfo]:
        """Facts for the checker of journeys, by template."""
        return {name: template.info() for name, template in self.templates().items()}

    def listing(self) -> list[dict[str, Any]]:
        """Every template with its variants. Raises ValueError with every problem of an unreadable catalogue."""
        today = datetime.now(UTC).date()
        return [_list_item(template, today) for _, template in sorted(self.templates().items())]

    def refused(self, name: str) -> tuple[str, datetime | None] | None:
        """Why a template may not be sent to anybody, and since when if known; None if it may (C11)."""
        template = self.templates().get(name)
        if template is None:
            return f"{name} is not in the catalogue", None
        fault = template.unsendable(template.source, datetime.now(UTC).date())
        if not fault:
            return None
        due = template.matter.review_date
        overdue = template.matter.status == "live"
        return fault, datetime(due.year, due.month, due.day, tzinfo=UTC) + timedelta(days=1) if overdue else None

    def unknown_fields(self, name: str) -> MissingFields:
        """Function from profile, account and channel to the fields that this template needs and they lack (H8)."""
        template = self.templates().get(name)

        def missing(profile: Mapping[str, Any], account: Mapping[str, Any], channel: str) -> tuple[str, ...]:
            if template is None:
                return ()
            outgoing = Outgoing("", name, "", profile, account, {})
            return template.unknown_fields(outgoing, template.choose(outgoing, channel)[1])

        return missing

    def preview(self, name: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """A template rendered for `profile`, `account` and `data` of the request, on `channel`, in `locale`.

        A `variant` named in the request is shown whatever its conditions, drafts too. `missing` lists unknown fields and
        variables; `fault` is the reason if it cannot be rendered. Raises LookupError for an unknown template or variant, and
        ValueError as `listing`.
        """
        template = self.templates()[name]
        outgoing, channel = _outgoing(name, request), request["channel"]
        variant, source = _chosen(template, outgoing, request)
        facts: dict[str, Any] = {
            "template": name,
            "channel": channel,
            "variant": variant,
            "status": source.matter.status if template.matter.status == "live" else template.matter.status,
            "missing": template.missing(outgoing, source),
            "warnings": _warnings(template, source, channel),
            "fault": None,
        }
        try:
            message = template.render_source(outgoing, "", source)
        except TemplateFault as fault:
            return {**facts, "subject": None, "html": None, "text": None, "sender": None, "fault": str(fault)}
        html, text = self._parts(message, channel)
        if len(html.encode()) > CLIPPED:
            facts["warnings"].append(f"{len(html.encode()) // 1024} KB of HTML; Gmail shows only the first 102 KB")
        sender = message.sender.model_dump() if message.sender is not None else None
        return {**facts, "subject": message.subject, "html": html, "text": text, "sender": sender}

    def _parts(self, message: Rendered, channel: str) -> tuple[str, str]:
        if channel == "email":
            return html_part(message, sender=self.postal), text_part(message, sender=self.postal)
        return markup.markup_html(message.blocks), markup.markup_text(message.blocks)

    def may_test(self, to: str) -> str:
        """Why no test may be sent to this address; empty if it may."""
        if mail_address(to) != to:
            return "is not a valid mail address"
        if not self.anyone and not self.allowed.allows(to):
            return "is not on the allow-list; an operator can add it to TENURE_ALLOWED_RECIPIENTS"
        return (
            ""
            if self.mailer
            else "cannot be reached: no mail channel is configured (TENURE_SMTP_URL or TENURE_RESEND_KEY)"
        )

    async def test_send(self, name: str, to: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send one mail marked as a test. If `sent` is false, `detail` has the reason.

        Raises LookupError and ValueError as `preview`, and ValueError for an address that may not get tests.
        """
        if (reason := self.may_test(to)) or self.mailer is None:
            raise ValueError(f"{to} {reason}")
        template = self.templates()[name]
        outgoing = _outgoing(name, request, to)
        variant, source = _chosen(template, outgoing, {**request, "channel": "email"})
        mailer = self.mailer()
        try:
            prepared = mailer.prepare_test(outgoing, template.render_source(outgoing, "", source))
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
        """Message and number of the link that a token names; None for a token that is not ours."""
        return self.links.read(token) if self.links is not None else None


def _outgoing(name: str, request: Mapping[str, Any], to: str = "") -> Outgoing:
    key = f"test/{uuid.uuid4().hex}"
    data, confirm = request["data"], Confirmation("https://example.com/confirm", "Offers")
    return Outgoing(key, name, to, request["profile"], request["account"], data, confirm=confirm)


def _chosen(template: Template, outgoing: Outgoing, request: Mapping[str, Any]) -> tuple[str, TemplateSource]:
    default, requested = template.rules.locales.default, request.get("variant")
    if requested is None:
        chosen, source = template.choose(outgoing, request["channel"], request.get("locale"))
        return chosen.name(default), source
    sources = {variant.name(default): source for variant, source in template.variants.items()}
    return requested, (sources | {BASE: template.source})[requested]


def _warnings(template: Template, source: TemplateSource, channel: str) -> list[str]:
    today, matter = datetime.now(UTC).date(), source.matter
    warnings = []
    if template.matter.status != "live" or matter.status != "live":
        status = template.matter.status if template.matter.status != "live" else matter.status
        warnings.append(f"it is {status}, so it is sent to nobody")
    if matter.review_date < today:
        warnings.append(f"it was due for review on {matter.review_date}; its owner is {matter.owner}")
    if channel not in matter.channels:
        warnings.append(f"it is not sent by {channel}")
    return warnings


def _list_item(template: Template, today: date) -> dict[str, Any]:
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
