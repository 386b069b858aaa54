"""Calls of all odd shapes: never a 5xx, no good event lost, every refused element kept with its faults, replay works."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import asyncpg
import httpx
import pytest_asyncio
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from journeys.events.segment import KINDS
from journeys.events.tracking_plan import TrackingPlan
from tests.support.api import OPERATE, WRITE, application, served
from worker.composition.catalog import tracking_plan
from worker.settings import ROOT

EXAMPLES = settings(max_examples=120, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
UNPLANNED = "Odd Thing"
_numbers = count()

JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**30), 10**30),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=20),
        st.sampled_from(["", " ", "undefined", "null", "NaN", "[object Object]", "\x00", "\ud800", "x" * 300, "31/12/2026"]),
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip
INSTANTS: st.SearchStrategy[Any] = st.sampled_from(
    [
        "2026-11-29T10:06:21 am+0400", "Sun Nov 29 2026 10:06:21 GMT+0400 (Gulf Standard Time)", 1795932381, 1795932381000,
        "1795932381", "", None, "soon", "31/12/2026", "2026-02-30T10:00:00Z", "22:06 am", [], {}, True, -5, "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59", 1e308,
    ]
)  # fmt: skip
EMPTY: st.SearchStrategy[Any] = st.sampled_from([{}, [], None])
PLACEHOLDERS = st.sampled_from(["undefined", "null", "NaN", 0, "0", "anonymous", "[object Object]", "  ", "None", -1])
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={"sentAt": st.one_of(INSTANTS, JUNK), "context": st.one_of(EMPTY, JUNK), "integrations": JUNK, "x": JUNK},
)


@dataclass(frozen=True, slots=True)
class Element:
    """An element of a batch; `kept` names it in the store: a message id of an accepted event, or of one in quarantine."""

    value: Any
    good: bool
    kept: str | None = None


@st.composite
def good_elements(draw: st.DrawFn) -> Element:
    """A call that can be used, however odd what surrounds its event is."""
    number = next(_numbers)
    user, message = f"odd-{number}", f"good-{number}"
    call: dict[str, Any] = draw(
        st.sampled_from(
            [
                {"type": "track", "event": "Signed Up", "properties": {"plan": "pro"}},
                {"type": "track", "event": "setup_completed"},
                {"type": "identify", "traits": {"plan": "pro"}},
                {"type": "group", "groupId": f"account-{number}", "traits": {}},
                {"type": "page"},
                {"type": "screen"},
            ]
        )
    )
    call = {**call, "messageId": message, "userId": draw(st.sampled_from([user, f" {user}\t", 7_000_000 + number]))}
    if call["type"] in {"page", "screen"} or call.get("event") == "setup_completed":
        call["properties"] = draw(EMPTY)
    odd = {
        "timestamp": INSTANTS,
        "originalTimestamp": INSTANTS,
        "sentAt": st.one_of(INSTANTS, st.text(max_size=5)),
        "context": st.sampled_from(
            [[], {}, None, "x", 3, {"groupId": "undefined"}, {"historical": "yes"}, {"$notes": 1}]
        ),
        "anonymousId": PLACEHOLDERS,
        "previousId": PLACEHOLDERS,
        "integrations": st.one_of(EMPTY, st.just({"All": False})),
    }
    return Element({**call, **draw(st.fixed_dictionaries({}, optional=odd))}, good=True, kept=message)


@st.composite
def bad_elements(draw: st.DrawFn) -> Element:
    """A call, or what is none, that cannot be used."""
    if draw(st.booleans()):
        value = draw(
            st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=9), st.lists(st.integers(), max_size=2))
        )
        return Element(value, good=False)  # fmt: skip
    number = next(_numbers)
    message = f"bad-{number}"
    call: dict[str, Any] = {
        "type": "track",
        "event": "setup_completed",
        "userId": f"odd-{number}",
        "messageId": message,
    }
    deep: Any = "end"
    for _ in range(40):
        deep = {"in": deep}
    faults: list[dict[str, Any]] = [
        {"type": "trakc"}, {"type": None}, {"type": []}, {"userId": None}, {"userId": "undefined"}, {"userId": {}},
        {"userId": "x" * 300}, {"userId": "a\x00b"}, {"event": None}, {"event": ""}, {"event": 5}, {"event": "e" * 300},
        {"event": UNPLANNED}, {"event": "Setup Step Completed"}, {"properties": "x"}, {"properties": [1]}, {"properties": 3},
        {"properties": {"a": "\ud800"}}, {"properties": {"a": "\x00"}}, {"properties": {"a": deep}}, {"a": "x" * 40_000},
        {"type": "alias"}, {"type": "alias", "previousId": "null"}, {"type": "group"}, {"type": "group", "groupId": "NaN"},
        {"type": "identify", "traits": "x"}, {"type": "identify", "traits": {"consents": {"email": {"no topic": True}}}},
        {"messageId": {}}, {"messageId": "m" * 300},
    ]  # fmt: skip
    fault = draw(st.sampled_from(faults))
    return Element({**call, **fault}, good=False, kept=None if "messageId" in fault else message)


@dataclass(slots=True)
class Sent:
    """What was sent so far, by the name under which the store has it."""

    good: set[str] = field(default_factory=set)
    bad: set[str] = field(default_factory=set)

    def add(self, element: Element) -> None:
        if element.kept is not None:
            (self.good if element.good else self.bad).add(element.kept)


@pytest_asyncio.fixture(scope="module")
async def url(module_database_url: str) -> AsyncIterator[str]:
    with served(application(module_database_url)) as address:
        yield address


def post(client: httpx.Client, path: str, body: Any) -> httpx.Response:
    return client.post(path, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


def play_batches(url: str) -> Sent:
    """Send batches of good and bad elements, and again: nothing is lost, and what is known is not accepted twice."""
    sent = Sent()
    with httpx.Client(base_url=url, auth=(WRITE, "")) as client:

        @EXAMPLES
        @given(ENVELOPES, st.lists(st.one_of(good_elements(), bad_elements()), min_size=1, max_size=6))
        def each_counts(envelope: dict[str, Any], elements: list[Element]) -> None:
            body = {**envelope, "batch": [element.value for element in elements]}
            answer = post(client, "/v1/batch", body)
            assert answer.status_code == 200, answer.text
            counts = answer.json()
            good = [index for index, element in enumerate(elements) if element.good]
            event(f"{len(good)} good, {len(elements) - len(good)} bad")
            assert counts["accepted"] == len(good), counts
            assert counts["accepted"] + counts["duplicates"] + counts["quarantined"] == len(elements)
            for refused in counts.get("errors", ()):
                assert refused["index"] not in good
                assert all(fault["detail"] and fault["pointer"] for fault in refused["errors"])
            for element in elements:
                sent.add(element)
            again = post(client, "/v1/batch", body).json()
            assert again["accepted"] == 0, again

        each_counts()
    return sent


def play_single_calls(url: str) -> Sent:
    """Send elements as single calls: each is answered with 200, and its faults if it has some."""
    sent = Sent()
    with httpx.Client(base_url=url, auth=(WRITE, "")) as client:

        @EXAMPLES
        @given(st.one_of(good_elements(), bad_elements()))
        def is_taken(element: Element) -> None:
            kind = element.value.get("type") if isinstance(element.value, dict) else None
            is_kind = isinstance(kind, str) and kind in KINDS
            answer = post(client, f"/v1/{kind if is_kind else 'track'}", element.value)
            # One above the limit of a single call's body is refused before it is read.
            assert answer.status_code == 200 or (answer.status_code == 413 and "a" in element.value), answer.text
            if element.good:
                assert "quarantined" not in answer.json(), answer.text
            # The route says the kind, so a call whose own is wrong has no fault.
            if answer.status_code == 200 and is_kind:
                sent.add(element)

        is_taken()
    return sent


async def stored_ids(db: asyncpg.Connection, names: set[str]) -> list[str]:
    rows = await db.fetch("SELECT message_id FROM events WHERE message_id = ANY($1) ORDER BY 1", sorted(names))
    return [row["message_id"] for row in rows]


async def test_a_batch_of_odd_elements_loses_no_good_event_and_keeps_every_other(
    url: str, db: asyncpg.Connection
) -> None:
    sent = await asyncio.to_thread(play_batches, url)
    assert len(sent.good) > 100
    assert len(sent.bad) > 50
    assert await stored_ids(db, sent.good) == sorted(sent.good)
    assert await stored_ids(db, sent.bad) == []
    held = await db.fetch(
        "SELECT message_id, faults, event FROM quarantine WHERE message_id = ANY($1)", sorted(sent.bad)
    )
    assert {row["message_id"] for row in held} == sent.bad
    assert await db.fetchval("SELECT count(*) FROM quarantine WHERE jsonb_array_length(faults) = 0") == 0


async def test_an_odd_single_call_is_a_batch_of_one(url: str, db: asyncpg.Connection) -> None:
    sent = await asyncio.to_thread(play_single_calls, url)
    assert await stored_ids(db, sent.good) == sorted(sent.good)
    held = await db.fetch("SELECT message_id FROM quarantine WHERE message_id = ANY($1)", sorted(sent.bad))
    assert {row["message_id"] for row in held} == sent.bad


async def test_what_is_held_is_replayed_or_says_again_why_not(
    url: str, module_database_url: str, db: asyncpg.Connection
) -> None:
    """With a plan that knows the event each held one of it is accepted; every other is refused again, with its faults."""
    batch = [
        {
            "type": "track",
            "event": UNPLANNED,
            "userId": f"replayed-{n}",
            "messageId": f"replayed-{n}",
            "timestamp": when,
        }
        for n, when in enumerate(("2026-11-01T10:00:00Z", "soon", None, 1795932381))
    ]
    async with httpx.AsyncClient(base_url=url, auth=(WRITE, "")) as client:
        answer = await client.post("/v1/batch", json={"batch": [*batch, 5, {"type": "track"}]})
        assert answer.json()["quarantined"] == 6
    plan = tracking_plan(ROOT / "catalog").model_dump(mode="json", by_alias=True, exclude_defaults=True)
    plan["signals"]["odd_thing"] = {"description": "An odd thing", "source": "product", "from": [UNPLANNED]}
    with served(application(module_database_url, tracking=TrackingPlan.model_validate(plan))) as mended:
        async with httpx.AsyncClient(base_url=mended, auth=(OPERATE, ""), timeout=60) as operator:
            held = [row["id"] for row in await db.fetch("SELECT id FROM quarantine WHERE status = 'held' ORDER BY id")]
            for number in held:
                answer = await operator.post(f"/v1/quarantine/{number}/replay")
                assert answer.status_code in {200, 409}, answer.text
                assert answer.status_code == 200 or all(fault["detail"] for fault in answer.json()["errors"])
    assert await stored_ids(db, {f"replayed-{n}" for n in range(4)}) == [f"replayed-{n}" for n in range(4)]
    assert await db.fetchval("SELECT count(*) FROM quarantine WHERE name = $1 AND status = 'held'", UNPLANNED) == 0
    occurred = await db.fetchval("SELECT coalesce(occurred_at, at) FROM events WHERE message_id = 'replayed-0'")
    assert occurred.isoformat() == "2026-11-01T10:00:00+00:00"
