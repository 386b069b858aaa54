"""Kinds of callers, scopes of routes, and API keys.

A key is public (in browsers and apps, so anybody can read it), secret (on the company's servers) or an operator's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Final


class CallerKind(StrEnum):
    """Proof that a request carries: none, a key of one of three kinds, a person's token, a provider's signature."""

    NOBODY = "nobody"
    PUBLIC = "public"
    SECRET = "secret"  # noqa: S105 -- the kind of a key, not a key
    OPERATOR = "operator"
    PERSON = "person"
    PROVIDER = "provider"


class Scope(StrEnum):
    """Scope that a route requires.

    The endpoints of `LINK`, `TOKEN` and `SIGNATURE` verify their own proof; all others need a key, but `ANYONE`.
    `CLOCK` is `OPERATE` outside production.
    """

    ANYONE = "anyone"
    LINK = "link"
    TOKEN = "token"  # noqa: S105 -- the name of a scope
    SIGNATURE = "signature"
    COLLECT = "collect"
    SEND = "send"
    READ = "read"
    OPERATE = "operate"
    PUBLISH = "publish"
    ADMIN = "admin"
    CLOCK = "clock"


OPERATOR_SCOPES: Final = (Scope.READ, Scope.OPERATE, Scope.PUBLISH, Scope.ADMIN)
"""Scopes that an operator's key may have; each stands by itself."""
KINDS_OF_SCOPE: Final[Mapping[Scope, frozenset[CallerKind]]] = {
    Scope.ANYONE: frozenset(CallerKind),
    Scope.LINK: frozenset({CallerKind.PERSON}),
    Scope.TOKEN: frozenset({CallerKind.PERSON}),
    Scope.SIGNATURE: frozenset({CallerKind.PROVIDER}),
    Scope.COLLECT: frozenset({CallerKind.PUBLIC, CallerKind.SECRET, CallerKind.OPERATOR}),
    Scope.SEND: frozenset({CallerKind.SECRET, CallerKind.OPERATOR}),
    **dict.fromkeys((*OPERATOR_SCOPES, Scope.CLOCK), frozenset({CallerKind.OPERATOR})),
}


def operator_scope(scope: Scope) -> Scope:
    """The scope that an operator's key needs for a route."""
    return scope if scope in OPERATOR_SCOPES else Scope.OPERATE


NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""Names of keys and of their sources."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller as the rules see it. `source` is its key's: a namespace of message ids, and a writer in the plan."""

    kind: CallerKind
    scopes: frozenset[Scope] = frozenset()
    source: str = ""


NOBODY: Final = Caller(CallerKind.NOBODY)
PERSON: Final = Caller(CallerKind.PERSON)
PROVIDER: Final = Caller(CallerKind.PROVIDER)


@dataclass(frozen=True)
class ApiKey:
    """A key without its secret. The keys given by settings have their names as ids, and no source.

    `generations` grow with each rotation; during its overlap the previous one is valid too.
    """

    id: str
    name: str
    kind: CallerKind
    scopes: frozenset[Scope] = frozenset()
    source: str = ""
    generations: tuple[int, ...] = (1,)

    @cached_property
    def caller(self) -> Caller:
        """The holder of the key, as the rules see them."""
        return Caller(self.kind, self.scopes, self.source)

    def namespace(self, interface: str) -> str:
        """The source of events that come with this key by an interface; it does not change when the key is rotated."""
        return f"{interface}:{self.source}" if self.source else interface

    def acts_for(self, person: str | None) -> str:
        """Who did something with this key: the key's name, behind that of the person whom the request names."""
        return self.name if person in (None, "", self.name) else f"{person}{VIA}{self.name}"


VIA: Final = " via "
"""Stands between a person's name and the key's: a key's name has no space, so the last part is never forged."""
WRITE_KEY: Final = ApiKey("write", "write", CallerKind.SECRET)
OPERATOR_KEY: Final = ApiKey("operator", "operator", CallerKind.OPERATOR, frozenset(OPERATOR_SCOPES))
"""The two keys that settings give, for the first start and for `make up`."""
