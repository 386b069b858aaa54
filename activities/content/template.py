"""Template with its variants: fields it reads, reviewers, selection, rendering."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from activities.content.front_matter import CONFIRM_TOPIC, CONFIRM_URL, FrontMatter
from activities.content.link_targets import LinkTargets
from activities.content.liquid import Unknown
from activities.content.rendered import Rendered
from activities.content.rendering import fields_needed, fill_in, owner_sender, template_scope
from activities.content.template_source import TemplateSource
from activities.ports import FieldsUnknown, NoOpenRequest, Outgoing, TemplateFault
from journeys.content.link_domains import LinkDomains
from journeys.content.surveys import ANSWERED
from journeys.content.template_info import TemplateInfo
from journeys.content.variants import LOCALE, ContentRules, Variant, choose_variant, variant_traits
from journeys.tasks.team import Team


@dataclass(frozen=True, slots=True)
class Template:
    """A template with its variants."""

    name: str
    source: TemplateSource
    variants: Mapping[Variant, TemplateSource] = field(default_factory=dict)
    rules: ContentRules = field(default_factory=ContentRules)
    team: Team = field(default_factory=Team)
    links: LinkDomains = field(default_factory=LinkDomains)

    @property
    def matter(self) -> FrontMatter:
        return self.source.matter

    @property
    def fields_read(self) -> frozenset[str]:
        """Fields, as `profile.x` and `account.y`, that texts, the choice of variants and the sender read.

        They must travel with every signal (H5).
        """
        read = self.source.fields_read.union(*(source.fields_read for source in self.variants.values()))
        by_tag = {name: dimension.from_ for name, dimension in self.rules.dimensions.items()}
        read |= {by_tag[name] for variant in self.variants for name, _ in variant.tags if name in by_tag}
        if any(variant.locale != self.rules.locales.default for variant in self.variants):
            read |= {LOCALE}
        if self.matter.from_ == "owner":
            read |= {self.rules.owner_sender.name, self.rules.owner_sender.reply_to}
            if any(person.signs is not None for person in self.team.people.values()):
                read |= {f"account.{self.team.owner}"}
        return read

    def info(self) -> TemplateInfo:
        """Facts for the checker of journeys."""
        matter = self.matter
        variables = {name: variable for name, variable in matter.variables.items() if "." not in name}
        return TemplateInfo(
            name=self.name,
            variables=frozenset(variables),
            required=frozenset(name for name, variable in variables.items() if variable.default is None),
            types={name: variable.type for name, variable in variables.items()},
            fields=self.fields_read,
            awaits=(*(item.signal for item in matter.items), *((ANSWERED,) if matter.asks is not None else ())),
            kind=matter.kind,
            topic=matter.topic,
            channels=matter.channels,
            stage=matter.stage,
            role=matter.role,
            owner=matter.owner,
            status=matter.status,
            review_date=min(review_date for review_date, _ in self.reviews()),
            time_sensitive=matter.time_sensitive,
        )

    def reviews(self) -> tuple[tuple[date, str], ...]:
        """Review date and owner of the template and of each live variant."""
        live = (source for source in self.variants.values() if source.matter.status == "live")
        return tuple((source.matter.review_date, source.matter.owner) for source in (self.source, *live))

    def overdue(self, today: date) -> bool:
        """Whether the template or a live variant is past its review date."""
        return any(review_date < today for review_date, _ in self.reviews())

    def choose(self, outgoing: Outgoing, channel: str, locale: str | None = None) -> tuple[Variant, TemplateSource]:
        """The live variant for this person, and its source; the template itself if none fits."""
        traits = variant_traits(self.rules, outgoing.profile, outgoing.account, channel, locale)
        live = [variant for variant, source in self.variants.items() if source.matter.status == "live"]
        chosen = choose_variant(self.rules, live, traits)
        return chosen, self.variants.get(chosen, self.source)

    def render(
        self,
        outgoing: Outgoing,
        unsubscribe_url: str = "",
        channel: str = "",
        *,
        today: date,
        locale: str | None = None,
    ) -> Rendered:
        """The message for this person. Raises TemplateFault, also for a template that may not be sent."""
        _, source = self.choose(outgoing, channel, locale)
        if fault := self.unsendable(source, today):
            raise TemplateFault(fault)
        return self.render_source(outgoing, unsubscribe_url, source)

    def render_source(self, outgoing: Outgoing, unsubscribe_url: str, source: TemplateSource) -> Rendered:
        """One source rendered for this person, even if it may not be sent.

        Raises TemplateFault, FieldsUnknown if the person's fields are missing, and NoOpenRequest.
        """
        confirm = outgoing.confirm
        scope = template_scope(self.matter, outgoing) | {"unsubscribe_url": unsubscribe_url}
        if confirm is not None:
            scope |= {CONFIRM_URL: confirm.url, CONFIRM_TOPIC: confirm.topic}
        own = frozenset(url for url in (unsubscribe_url, confirm.url if confirm is not None else "") if url)
        targets = LinkTargets(self.links, own)
        default = self.rules.locales.default
        variant = next((key for key, value in self.variants.items() if value is source), Variant(default))
        signed_by_owner = source.matter.from_ == "owner"
        try:
            sender = owner_sender(self.team, self.rules.owner_sender, outgoing) if signed_by_owner else None
            return fill_in(
                source, scope, variant=variant.name(default), lang=variant.locale, sender=sender, targets=targets
            )
        except TemplateFault as fault:
            text = f"{self.name}: {fault}"
            if isinstance(fault, Unknown) and fault.name in source.fields_read:
                raise FieldsUnknown(text, self.unknown_fields(outgoing, source)) from None
            if isinstance(fault, Unknown) and fault.name in (CONFIRM_URL, CONFIRM_TOPIC):
                raise NoOpenRequest(f"{self.name}: nothing is to be confirmed at this address") from None
            raise TemplateFault(text) from None

    def unknown_fields(self, outgoing: Outgoing, source: TemplateSource) -> tuple[str, ...]:
        """Fields without which this source cannot be rendered, and that the person does not have (H8)."""
        scope = template_scope(self.matter, outgoing) | {"unsubscribe_url": ""}
        return tuple(sorted(fields_needed(source, scope) & source.fields_read))

    def unsendable(self, source: TemplateSource, today: date) -> str:
        """Why this may not be sent to anybody; empty if it may (C11)."""
        if self.matter.status != "live":
            return f"{self.name} is {self.matter.status}"
        if self.rules.overdue == "refuse" and source.matter.review_date < today:
            return f"{self.name} was due for review on {source.matter.review_date}; its owner is {source.matter.owner}"
        return ""

    def missing(self, outgoing: Outgoing, source: TemplateSource) -> tuple[str, ...]:
        """What this source reads and the person does not have: fields as `profile.x`, variables by name."""
        scope = template_scope(self.matter, outgoing)
        fields = (name for name in source.fields_read if name.partition(".")[2] not in scope[name.partition(".")[0]])
        return tuple(sorted((*fields, *(name for name in source.names_read if name not in scope))))
