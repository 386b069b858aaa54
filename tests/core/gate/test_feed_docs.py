"""`docs/feed.md`: its example is a real page, its loader works, every name in it exists."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from standardwebhooks.webhooks import WebhookVerificationError

from activities.exports.feed_push import BATCH, KIND
from activities.outgoing.standard_webhooks import STEPS, signing
from api.exports.feed import EXAMPLE
from journeys.gate import feed
from journeys.gate.status import MEANINGS, SETTLED, TRANSITIONS, Status
from tests.support import shipped_catalog
from tests.support.api import application
from worker.loops.feed_push import LAG, PUSHED, TRIES
from worker.provider_settings import ProviderSettings

TEXT = (shipped_catalog.DOCS / "feed.md").read_text("utf-8")
SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def _block(language: str) -> str:
    (block,) = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return str(block)


def test_the_example_page_is_the_one_of_the_api_description():
    shown = json.loads(_block("json"))
    assert shown == {**EXAMPLE, "items": EXAMPLE["items"][:1]}


def _warehouse(change: str = "") -> httpx.Client:
    """A server of the documented route with five lines, two a page; `change` alters signed bodies."""
    lines: list[dict[str, Any]] = [{"id": n, "type": "decision", "verdict": "send"} for n in (1, 2, 4, 5, 9)]

    def answer(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params["after"])
        behind = [line for line in lines if line["id"] > after]
        page = feed.feed_page(behind[:2], after, more=len(behind) > 2)
        body = json.dumps(page).encode()
        signed = signing(SECRET)(feed.identity(after, page["next"]), body)
        return httpx.Response(200, headers=signed, content=body.replace(b"send", change.encode() or b"send"))

    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://api")


def test_the_documented_loader_reads_every_line_and_refuses_a_changed_page():
    names: dict[str, Any] = {}
    exec(_block("python"), names)
    with _warehouse() as http:
        lines, after = names["load"](http, SECRET, 0)
        assert ([line["id"] for line in lines], after) == ([1, 2, 4, 5, 9], 9)
        assert names["load"](http, SECRET, after) == ([], 9)
    with _warehouse(change="withhold") as http, pytest.raises(WebhookVerificationError):
        names["load"](http, SECRET, 0)


def test_the_page_has_every_verdict_and_result_and_only_existing_names():
    results = {feed.result_word(status) for status in (*SETTLED & TRANSITIONS[Status.SENDING], Status.DEFERRED)}
    for word in (*(meaning.verdict for meaning in MEANINGS.values()), *results, "again"):
        assert f"`{word}`" in TEXT, word
    settings = {f"TENURE_{name.upper()}" for name in (*ProviderSettings.model_fields, "retention_feed_days")}
    assert set(re.findall(r"TENURE_[A-Z_]+", TEXT)) <= settings
    assert {"TENURE_FEED_URL", "TENURE_FEED_SECRET"} <= set(re.findall(r"TENURE_[A-Z_]+", TEXT))
    routes = {
        f"{method} {route.path}"
        for route in application("postgresql://nowhere/none").app.router.routes
        for method in route.methods
    }
    for named in re.findall(r"`((?:GET|POST) /v1/[^`?]*)", TEXT):
        assert named in routes, named
    metrics = {
        sample.name for collector in (LAG, TRIES, PUSHED) for metric in collector.collect() for sample in metric.samples
    }
    assert set(re.findall(r"tenure_feed_[a-z_]+", TEXT)) <= metrics
    assert f"at most {BATCH} lines" in TEXT
    assert KIND in TEXT


def test_the_documented_retry_schedule_is_the_one_in_use():
    seconds = [int(step.total_seconds()) for step in STEPS]
    assert seconds == [5, 300, 1800, *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24))]
    assert "5 s, 5 min, 30 min, 2, 5, 10, 14, 20 and 24 h" in TEXT
