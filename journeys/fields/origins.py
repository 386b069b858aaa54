"""Origins of fields: source and instants, by which the newest statement counts.

The value of a field is a function of the set of statements about it, so no order of arrival, delay or repetition matters.
Store and simulation call the same functions.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

ACCOUNT_ORIGIN: Final = "$account"
"""The name under which the origin of a person's current account is kept."""
MEMBER_ORIGIN: Final = "$member:"
"""The beginning of the name under which the last joining or leaving of an account, whose key follows, is kept."""
ADDRESSES: Final = frozenset({"email", "phone", "chat_channel", "push_token", "push_subscription"})
"""Fields of a person to which messages go."""
_NO_FIELD: Final = "$"
"""The beginning of names under which other statements than those of fields are kept."""
MOST_FORGOTTEN: Final = 256
"""Forgotten fields and memberships of one subject whose origin is kept, those of the latest instants; others may come back."""
MOST_NAME: Final = 64
"""Characters of a field's name in the tracking plan; a longer name that is forgotten leaves no origin."""


class FieldOrigin(NamedTuple):
    """The origin of a field's value, or of its removal.

    `occurred_at` is the sender's corrected time at any age, `accepted_at` that of acceptance. `is_implied`: the sender's
    context implies the value, such as a browser's time zone; a trait replaces it, at whatever instant it was sent.
    """

    occurred_at: datetime
    accepted_at: datetime
    source: str
    is_implied: bool = False

    def replaces(self, other: FieldOrigin | None) -> bool:
        """Whether a statement of this origin replaces one of another: it is newer, or as new and not accepted earlier."""
        return other is None or self.rank >= other.rank

    @property
    def rank(self) -> tuple[bool, datetime, datetime]:
        """The order of statements about one field."""
        return not self.is_implied, self.occurred_at, self.accepted_at


FieldOrigins = Mapping[str, FieldOrigin]


def newer_traits(
    known: FieldOrigins, profile: Collection[str], traits: Mapping[str, Any], origin: FieldOrigin
) -> dict[str, Any]:
    """The traits that are newer than what is known of their fields.

    A value of unknown origin is older than any trait, but what is only implied does not replace it.
    """
    return {
        name: value
        for name, value in traits.items()
        if not name.startswith(_NO_FIELD)
        and origin.replaces(known.get(name))
        and not (origin.is_implied and name in profile and name not in known)
    }


def newer_fields(
    into: FieldOrigins, gone: FieldOrigins, profile: Mapping[str, Any], other: Mapping[str, Any]
) -> dict[str, Any]:
    """The fields of a merged subject (`gone`, `other`) that are newer than those of the subject that stays.

    None removes a field. At one instant, and where neither origin is known, the subject that stays keeps its value. It keeps
    its addresses always: somebody else may have used the device, and would get its messages (C5).
    """
    return {
        name: other.get(name)
        for name in sorted({*other, *gone})
        if not name.startswith(_NO_FIELD)
        and not (name in ADDRESSES and name in profile)
        and _is_newer(into.get(name), gone.get(name), has_value=name in profile)
    }


def _is_newer(mine: FieldOrigin | None, theirs: FieldOrigin | None, *, has_value: bool) -> bool:
    if mine is None:
        return not has_value or (theirs is not None and not theirs.is_implied)
    return theirs is not None and not mine.replaces(theirs)


def newer_memberships(into: FieldOrigins, gone: FieldOrigins) -> list[str]:
    """The names of those joinings and leavings of a merged person that are newer than those of the person that stays."""
    return [
        name
        for name in gone
        if name.startswith(MEMBER_ORIGIN) and _is_newer(into.get(name), gone[name], has_value=False)
    ]


def is_newer_account(mine: object, into: FieldOrigins, theirs: object, gone: FieldOrigins) -> bool:
    """Whether the account of a merged visitor (`theirs`) replaces that of the user (`mine`); None for no account."""
    known, other = into.get(ACCOUNT_ORIGIN), gone.get(ACCOUNT_ORIGIN)
    return _is_newer(known, other, has_value=mine is not None) if theirs is not None or other is not None else False


def forgotten_without_bound(forgotten: FieldOrigins, declared: Collection[str] | None) -> set[str]:
    """Those of forgotten fields and memberships whose origins are not kept.

    These are undeclared fields (`declared` None: every name is declared), and what exceeds `MOST_FORGOTTEN`.
    """
    known = [
        name
        for name in forgotten
        if len(name) <= MOST_NAME and (declared is None or name in declared or name.startswith(_NO_FIELD))
    ]
    latest = sorted(known, key=lambda name: (forgotten[name].occurred_at, name), reverse=True)[:MOST_FORGOTTEN]
    return forgotten.keys() - latest
