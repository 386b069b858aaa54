"""Held events: the ids by which they name people and accounts, and their sentence."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from journeys.events.segment import MAX_ID

_PERSON_FIELDS: Final = ("userId", "anonymousId", "previousId", "user")
"""Fields of a call that name a person; `user` is a direct signal's, as `account` is."""
_ACCOUNT_FIELDS: Final = ("groupId", "account")


@dataclass(frozen=True, slots=True)
class HeldEvents:
    """Events of one name in quarantine that name a subject: how many, and the first fault of the latest."""

    name: str
    count: int
    fault: str


def named_in(raw: object) -> list[str]:
    """The ids of people and accounts in a call as its sender wrote it, each with its kind; nothing in what is no call."""
    if not isinstance(raw, Mapping):
        return []
    return sorted({f"{kind}:{name}" for kind, value in _ids_in(raw) if (name := _plain(value))})


def _ids_in(raw: Mapping[str, Any]) -> Iterator[tuple[str, object]]:
    yield from (("user", raw.get(field)) for field in _PERSON_FIELDS)
    yield from (("account", raw.get(field)) for field in _ACCOUNT_FIELDS)
    if isinstance(context := raw.get("context"), Mapping):
        yield "account", context.get("groupId")


def _plain(value: object) -> str:
    """An id without outer blanks; empty for what can be none."""
    if not isinstance(value, str | int) or isinstance(value, bool):
        return ""
    name = str(value).strip()
    return name if len(name) <= MAX_ID and "\x00" not in name else ""


def held_sentence(groups: Sequence[HeldEvents], count: int) -> str:
    """The sentence about `count` held events of a subject, of which `groups` are the most frequent; empty for none.

    As `2 events of theirs are held: Button Clicked (not in the tracking plan)`.
    """
    if not count:
        return ""
    begin = "1 event of theirs is held" if count == 1 else f"{count} events of theirs are held"
    shown = [_shown(group, is_counted=len(groups) > 1) for group in groups]
    if others := count - sum(group.count for group in groups):
        shown.append(f"{others} others")
    return f"{begin}: {', '.join(shown)}"


def _shown(group: HeldEvents, *, is_counted: bool) -> str:
    number = f"{group.count} × " if is_counted and group.count > 1 else ""
    # The name stands before the fault already.
    fault = group.fault.removeprefix(f"{group.name[:80]!r} ").removeprefix("is ")
    return f"{number}{group.name or 'without a name'} ({fault})"
