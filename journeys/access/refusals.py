"""Reasons of refused access, as codes, with their sentences."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class AccessRefusal(StrEnum):
    """Why a caller may not do something."""

    NO_KEY = "no_key"
    KIND = "kind"
    SCOPE = "scope"
    ALIAS_OR_GROUP = "alias_or_group"
    ACCOUNT = "account"
    UNPROVEN_USER = "unproven_user"
    PLATFORM_SIGNAL = "platform_signal"
    PROVIDER_SIGNAL = "provider_signal"
    NOT_PUBLIC = "not_public"
    FIELD_NOT_PUBLIC = "field_not_public"
    ADDRESS_OF_USER = "address_of_user"
    OTHER_WRITER = "other_writer"
    GRANT = "grant"
    UNPROVEN_GRANT = "unproven_grant"
    CONFIRMED_GRANT = "confirmed_grant"
    CLOCK = "clock"
    CLOCK_IN_PRODUCTION = "clock_in_production"
    ORIGIN = "origin"
    MORE_SCOPES = "more_scopes"


REFUSAL_SENTENCES: Final[Mapping[AccessRefusal, str]] = {
    AccessRefusal.NO_KEY: "Send a key: HTTP Basic with the key as user name, or Bearer.",
    AccessRefusal.KIND: "This kind of key may not call this route; docs/security.md lists which may.",
    AccessRefusal.SCOPE: "This operator's key lacks the scope. Use a key that has it.",
    AccessRefusal.ALIAS_OR_GROUP: "a public key may not send alias or group; send it with a secret key",
    AccessRefusal.ACCOUNT: "a public key may not name an account; send it with a secret key",
    AccessRefusal.UNPROVEN_USER: "a public key may name a known user only with `userHash`, which your server computes",
    AccessRefusal.PLATFORM_SIGNAL: "only Tenure itself emits this signal",
    AccessRefusal.PROVIDER_SIGNAL: "a provider's webhook or an operator's key reports this",
    AccessRefusal.NOT_PUBLIC: "a public key may not send it: the tracking plan does not mark it `public: true`",
    AccessRefusal.FIELD_NOT_PUBLIC: "a public key may not write it: the tracking plan does not mark it `public: true`",
    AccessRefusal.ADDRESS_OF_USER: "a public key may not change the address of a known user; send it with a secret key",
    AccessRefusal.OTHER_WRITER: "the tracking plan allows only other sources to send it (`writers`)",
    AccessRefusal.GRANT: "a public key may send only opt-outs and grants that wait for confirmation; use a secret key",
    AccessRefusal.UNPROVEN_GRANT: "a grant or a retraction needs the `wording` that the person saw, or a `proof`",
    AccessRefusal.CONFIRMED_GRANT: "`confirmed: true` needs an operator's key",
    AccessRefusal.CLOCK: "test clocks need an operator's key with the scope `operate`",
    AccessRefusal.CLOCK_IN_PRODUCTION: "there are no test clocks in production",
    AccessRefusal.ORIGIN: "pages of this origin may not use a public key; add the origin to TENURE_BROWSER_ORIGINS",
    AccessRefusal.MORE_SCOPES: "a key cannot make a key with scopes that it lacks",
}
