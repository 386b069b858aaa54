"""Decision of access: one caller and one demand, allowed or refused with its reason.

Every entry point uses it: routes, calls and signals, consents, webhooks, test clocks, keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from journeys.access.callers import KINDS_OF_SCOPE, Caller, CallerKind, Scope, operator_scope
from journeys.access.refusals import AccessRefusal
from journeys.events.tracking_plan import Origin


@dataclass(frozen=True, slots=True)
class RouteCall:
    """A call of a route."""

    scope: Scope
    in_production: bool = False


@dataclass(frozen=True, slots=True)
class AliasOrGroup:
    """A call that joins two identities, or a person and an account."""


@dataclass(frozen=True, slots=True)
class NamedAccount:
    """A call that names an account (`context.groupId`)."""


@dataclass(frozen=True, slots=True)
class NamedPerson:
    """A person. `known`: they have a user id. `proven`: the call carries the hash of that id (`userHash`)."""

    known: bool
    proven: bool


@dataclass(frozen=True, slots=True)
class SentSignal:
    """A signal of the tracking plan, with its marks."""

    origin: Origin
    public: bool = False
    writers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WrittenField:
    """A field that a call sets. `of_user`: of a person with a user id. `address`: messages are sent to its value."""

    owner: Literal["profile", "account"]
    public: bool = False
    writers: tuple[str, ...] = ()
    address: bool = False
    of_user: bool = False


@dataclass(frozen=True, slots=True)
class StatedConsent:
    """A grant (True), a refusal (False) or a statement taken back (None).

    `waits`: the grant counts only after its confirmation. `proven`: it carries wording or proof. `confirmed`: the caller
    says that another system has the confirmation.
    """

    granted: bool | None
    waits: bool = False
    proven: bool = False
    confirmed: bool = False


@dataclass(frozen=True, slots=True)
class UsedTestClock:
    """A test clock, made, advanced or named by a call."""

    in_production: bool


@dataclass(frozen=True, slots=True)
class PageCall:
    """A call from a page in a browser, of an allowed origin or of another."""

    allowed: bool


@dataclass(frozen=True, slots=True)
class MadeKey:
    """A key that is made, rotated or revoked, with its scopes."""

    scopes: frozenset[Scope] = frozenset()


Demand = (
    RouteCall
    | AliasOrGroup
    | NamedAccount
    | NamedPerson
    | SentSignal
    | WrittenField
    | StatedConsent
    | UsedTestClock
    | PageCall
    | MadeKey
)


def refusal_of(caller: Caller, demand: Demand) -> AccessRefusal | None:
    """The reason why a caller may not do this; None if they may."""
    match demand:
        case RouteCall(scope=Scope.CLOCK, in_production=in_production):
            return _route(caller, Scope.CLOCK) or _clock(caller, in_production=in_production)
        case RouteCall(scope=scope):
            return _route(caller, scope)
        case AliasOrGroup() | NamedAccount() | NamedPerson():
            return _identity(demand) if caller.kind is CallerKind.PUBLIC else None
        case SentSignal():
            return _signal(caller, demand)
        case WrittenField():
            return _field(caller, demand)
        case StatedConsent():
            return _consent(caller, demand)
        case UsedTestClock(in_production=in_production):
            return _clock(caller, in_production=in_production)
        case PageCall(allowed=allowed):
            return AccessRefusal.ORIGIN if caller.kind is CallerKind.PUBLIC and not allowed else None
        case MadeKey(scopes=scopes):
            return _route(caller, Scope.ADMIN) or (None if scopes <= caller.scopes else AccessRefusal.MORE_SCOPES)


def _route(caller: Caller, scope: Scope) -> AccessRefusal | None:
    if caller.kind not in KINDS_OF_SCOPE[scope]:
        return AccessRefusal.NO_KEY if caller.kind is CallerKind.NOBODY else AccessRefusal.KIND
    if caller.kind is not CallerKind.OPERATOR or scope is Scope.ANYONE:
        return None
    return None if operator_scope(scope) in caller.scopes else AccessRefusal.SCOPE


def _identity(demand: AliasOrGroup | NamedAccount | NamedPerson) -> AccessRefusal | None:
    """What a public key may name: visitors, and users with their hash."""
    match demand:
        case AliasOrGroup():
            return AccessRefusal.ALIAS_OR_GROUP
        case NamedAccount():
            return AccessRefusal.ACCOUNT
        case NamedPerson(known=known, proven=proven):
            return AccessRefusal.UNPROVEN_USER if known and not proven else None


def _clock(caller: Caller, *, in_production: bool) -> AccessRefusal | None:
    if caller.kind is not CallerKind.OPERATOR or Scope.OPERATE not in caller.scopes:
        return AccessRefusal.CLOCK
    return AccessRefusal.CLOCK_IN_PRODUCTION if in_production else None


def _signal(caller: Caller, signal: SentSignal) -> AccessRefusal | None:
    if signal.origin is Origin.PLATFORM:
        return AccessRefusal.PLATFORM_SIGNAL
    match caller.kind:
        case CallerKind.PROVIDER:
            return None
        case CallerKind.OPERATOR:
            return None if Scope.OPERATE in caller.scopes else AccessRefusal.SCOPE
        case CallerKind.SECRET | CallerKind.PUBLIC:
            if signal.origin is Origin.PROVIDER:
                return AccessRefusal.PROVIDER_SIGNAL
            if caller.kind is CallerKind.PUBLIC and not signal.public:
                return AccessRefusal.NOT_PUBLIC
            return _writer(caller, signal.writers)
        case CallerKind.NOBODY | CallerKind.PERSON:
            return AccessRefusal.NO_KEY


def _field(caller: Caller, field: WrittenField) -> AccessRefusal | None:
    match caller.kind:
        case CallerKind.OPERATOR:
            return None if Scope.OPERATE in caller.scopes else AccessRefusal.SCOPE
        case CallerKind.SECRET:
            return _writer(caller, field.writers)
        case CallerKind.PUBLIC:
            if field.owner == "account" or not field.public:
                return AccessRefusal.FIELD_NOT_PUBLIC
            if field.address and field.of_user:
                return AccessRefusal.ADDRESS_OF_USER
            return _writer(caller, field.writers)
        case CallerKind.NOBODY | CallerKind.PERSON | CallerKind.PROVIDER:
            return AccessRefusal.NO_KEY


def _writer(caller: Caller, writers: tuple[str, ...]) -> AccessRefusal | None:
    return None if not writers or caller.source in writers else AccessRefusal.OTHER_WRITER


def _consent(caller: Caller, consent: StatedConsent) -> AccessRefusal | None:
    """A refusal is always heard. A grant is a request for confirmation, or needs more than a public key."""
    asks_only = consent.granted is True and consent.waits and not consent.confirmed
    match caller.kind:
        case CallerKind.PUBLIC:
            return None if consent.granted is False or asks_only else AccessRefusal.GRANT
        case CallerKind.SECRET:
            if consent.confirmed:
                return AccessRefusal.CONFIRMED_GRANT
            return None if consent.granted is False or asks_only or consent.proven else AccessRefusal.UNPROVEN_GRANT
        case CallerKind.OPERATOR:
            return None if Scope.OPERATE in caller.scopes else AccessRefusal.SCOPE
        case CallerKind.PERSON | CallerKind.PROVIDER:
            return None
        case CallerKind.NOBODY:
            return AccessRefusal.NO_KEY
