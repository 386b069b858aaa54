"""Strangers: whatever bytes come, a route without a key answers with little CPU, and others within a budget per KB."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from api.http.asgi import MAX_CONTENT_TYPE, MAX_HEADERS
from api.http.auth import KEYLESS
from api.http.forms import FORM_LIMIT, parse_form
from api.http.limits import Limits
from api.http.problems import ProblemError
from api.http.routes import ScopedRoute
from api.inbound.signatures import WebhookSecrets
from journeys.access.callers import Scope
from journeys.consent.rules import DEV_BASE, DEV_KEY
from journeys.tokens.signed_links import PATHS, Link, Links
from tests.support.api import OPERATE, WRITE, application, served
from tests.support.asgi_calls import PIECE, MeasuringCaller
from tests.support.hostile_bytes import BODIES, CONTENT_TYPES, HEADERS

CPU_SECONDS = 0.1
"""For a request without a key."""
CPU_PER_KB = 0.002
"""Beside that, for a request with a key."""
SECRETS = WebhookSecrets(
    resend="whsec_" + "c2VjcmV0" * 4,
    twilio="twilio-token",
    twilio_account="AC" + "0" * 32,
    twilio_url="https://tenure.example/v1/hooks/twilio",
    zendesk="zendesk-secret",
    zoom="zoom-secret",
)
NOWHERE = "postgresql://127.0.0.1:1/none"
BIG = b";" * 240_000
FORM = (b"content-type", b"multipart/form-data; boundary=b")
SAMPLES = {"token": "x" * 60, "id": "1"}
RARELY = settings(max_examples=120, suppress_health_check=list(HealthCheck), database=None, derandomize=True)


@pytest.fixture(scope="module")
def caller() -> Iterator[MeasuringCaller]:
    with MeasuringCaller(application(NOWHERE, secrets=SECRETS)) as made:
        for method, path in PUBLIC:
            made.call(method, path)  # what is imported and compiled at the first request counts for nobody
        yield made


def routes(scopes: Collection[Scope]) -> list[tuple[str, str]]:
    found = [route for route in application(NOWHERE).app.router.routes if isinstance(route, ScopedRoute)]
    return [
        (method, re.sub(r"\{(\w+)(:\w+)?\}", lambda match: SAMPLES.get(match[1], "x"), route.path))
        for route in found
        if route.scope in scopes and "stream" not in route.path
        for method in sorted(route.methods or ())
    ]


PUBLIC = routes(KEYLESS)
GUARDED = routes(frozenset(Scope) - KEYLESS - {Scope.COLLECT})
COLLECTING = routes({Scope.COLLECT})


@RARELY
@given(route=st.sampled_from(PUBLIC), body=BODIES, kind=CONTENT_TYPES, headers=HEADERS)
@example(route=("POST", "/u/x"), body=BIG, kind=FORM[1], headers=[])
@example(route=("POST", "/p/x"), body=b"--b\r\nContent-Disposition: form-data" + BIG, kind=FORM[1], headers=[])
@example(route=("POST", "/u/x"), body=b"", kind=b"multipart/form-data" + b";" * 15_000, headers=[])
@example(route=("POST", "/v1/hooks/twilio"), body=b"a=b&" * 60_000, kind=b"", headers=[])
@example(route=("POST", "/v1/hooks/resend"), body=b"x", kind=b"", headers=[(b"content-length", b"\xb2")])
@example(route=("POST", "/v1/hooks/zoom"), body=b"x", kind=b"", headers=[(b"content-length", b"9" * 5_000)])
@example(route=("POST", "/v1/front/inbox/1/answered"), body=b"[NaN," * 100_000, kind=b"application/json", headers=[])
def test_a_route_without_a_key_answers_within_its_cpu_whatever_bytes_come(caller, route, body, kind, headers):
    answer = caller.call(*route, body, [(b"content-type", kind), *headers])
    assert answer.cpu < CPU_SECONDS, f"{answer.cpu:.3f} s"
    assert answer.status < 500 or answer.status == 503
    assert b"Traceback" not in answer.body


def test_the_process_is_live_while_strangers_send_what_they_like():
    hostile = [
        ("/u/x", FORM[1], BIG),
        ("/u/x", b"multipart/form-data" + b";" * 200, b"--b" * 5_000),
        ("/v1/hooks/twilio", b"", b"a=b&" * 60_000),
        ("/v1/hooks/resend", b"application/json", b"[NaN," * 50_000),
        ("/v1/front/inbox/1/answered", b"application/json", b"[" * 100_000),
        ("/v1/batch", b"application/json", b'{"batch": [' + b"{}," * 100_000),
    ]

    def attack(url: str) -> list[int]:
        with httpx.Client(base_url=url, timeout=60) as stranger:
            return [
                stranger.post(path, content=body, headers={"content-type": kind.decode()}).status_code
                for path, kind, body in hostile * 10
            ]

    with served(application(NOWHERE, secrets=SECRETS)) as url, ThreadPoolExecutor() as threads:
        attacks = [threads.submit(attack, url) for _ in range(4)]
        answers = 0
        with httpx.Client(base_url=url, timeout=60) as monitor:
            while not all(running.done() for running in attacks):
                assert monitor.get("/livez").status_code == 200
                answers += 1
    assert answers >= len(hostile), "it answers between the attacks, not after them"
    assert {status for running in attacks for status in running.result()} <= {401, 404, 413, 422, 429, 503}


@RARELY
@given(route=st.sampled_from(GUARDED), body=BODIES, kind=CONTENT_TYPES, headers=HEADERS)
def test_a_guarded_route_reads_nothing_without_a_valid_key(caller, route, body, kind, headers):
    answer = caller.call(*route, body, [(b"content-type", kind), *headers])
    assert answer.status in {401, 431, 503}, "503: the keys are in a database that cannot be reached"
    assert answer.cpu < CPU_SECONDS
    assert answer.read == 0


@RARELY
@given(route=st.sampled_from(COLLECTING), body=BODIES, kind=CONTENT_TYPES, headers=HEADERS)
@example(route=("POST", "/v1/b"), body=b"[NaN," * 60_000, kind=b"text/plain", headers=[])
@example(route=("POST", "/v1/b"), body=b'{"writeKey":' * 40_000, kind=b"text/plain", headers=[])
@example(route=("POST", "/v1/b"), body=b"9" * 400_000, kind=b"text/plain", headers=[])
@example(route=("POST", "/v1/b"), body=b'"\\ud800' * 60_000, kind=b"text/plain", headers=[])
def test_a_route_that_takes_its_key_from_the_body_reads_no_more_than_its_limit_of_it(
    caller, route, body, kind, headers
):
    answer = caller.call(*route, body, [(b"content-type", kind), *headers])
    assert answer.status in {400, 401, 413, 415, 431, 503}
    assert answer.cpu < CPU_SECONDS, f"{answer.cpu:.3f} s"
    limits = Limits()
    limit = limits.batch_bytes if route[1] in {"/v1/b", "/v1/batch", "/v1/import"} else limits.event_bytes
    assert answer.read <= limit + PIECE


@pytest.mark.parametrize("path", ["/v1/b", "/v1/t", "/v1/batch"])
def test_a_body_is_not_read_for_its_key_where_the_head_has_one(caller, path):
    answer = caller.call("POST", path, b'{"writeKey": "x"}', [(b"authorization", b"Bearer nobody")])
    assert (answer.status in {401, 503}, answer.read) == (True, 0)


@pytest.mark.parametrize("path", ["/u/x", "/p/x", "/y/x"])
def test_a_form_is_not_even_read_before_its_token_is_valid(caller, path):
    answer = caller.call("POST", path, BIG, [FORM])
    assert (answer.status, answer.read) == (404, 0)


@pytest.mark.parametrize("purpose", ["unsubscribe", "preferences", "confirm"])
def test_a_form_with_a_valid_token_has_at_most_16_kb(module_database_url, purpose):
    with MeasuringCaller(application(module_database_url)) as known:
        token = Links(DEV_BASE, (DEV_KEY,)).token(Link(purpose, "u_1"), datetime.now(UTC))
        known.call("GET", f"/{PATHS[purpose]}/{token}")
        answer = known.call("POST", f"/{PATHS[purpose]}/{token}", BIG, [FORM])
        # The person is unknown here, so that not even a valid token makes it read the form.
        assert (answer.status, answer.read) == (404, 0)
        assert answer.cpu < CPU_SECONDS


@RARELY
@given(body=BODIES, kind=CONTENT_TYPES)
@example(body=BIG[:FORM_LIMIT], kind=FORM[1])
@example(body=b"--b" * 5_000, kind=FORM[1])
@example(body=b'--b\r\nContent-Disposition: form-data; name="' * 300, kind=FORM[1])
def test_a_form_is_parsed_in_linear_time(body, kind):
    began = time.thread_time()
    try:
        fields = parse_form(kind.decode("latin-1"), body[:FORM_LIMIT])
        assert all(isinstance(value, str) for values in fields.values() for value in values)
    except ProblemError:
        pass  # a form that cannot be read is refused as such
    assert time.thread_time() - began < CPU_SECONDS / 2


def test_a_form_is_read_in_both_encodings():
    parts = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % pair
        for pair in ((b"action", b"save"), (b"on", "größer".encode()), (b"on", b"a\r\nb"))
    )
    expected = {"action": ["save"], "on": ["größer", "a\r\nb"]}
    for kind in ('multipart/form-data; boundary="b"', "Multipart/Form-Data; charset=utf-8; boundary=b"):
        assert parse_form(kind, b"preamble\r\n" + parts + b"--b--\r\nepilogue") == expected
    urlencoded = b"action=save&on=gr%C3%B6%C3%9Fer&on=a%0D%0Ab"
    assert parse_form("application/x-www-form-urlencoded", urlencoded) == expected
    for wrong in (
        ("multipart/form-data", b"x"),
        ("", b"a=b&" * 1_001),
        ("", b"\xff"),
        (FORM[1].decode(), b"--b" * 1_002),
    ):
        with pytest.raises(ProblemError):
            parse_form(*wrong)


@pytest.mark.parametrize(
    "headers",
    [
        [(b"cookie", b"x" * MAX_HEADERS)],
        [(b"content-type", b";" * (MAX_CONTENT_TYPE + 1))],
        [(f"x-{number}".encode(), b"x" * 100) for number in range(200)],
    ],
)
def test_large_headers_are_refused_before_anything_reads_them(caller, headers):
    for path in ("/livez", "/v1/batch", "/nothing"):
        answer = caller.call("POST", path, b"x", [*headers, (b"authorization", b"Bearer " + WRITE.encode())])
        assert (answer.status, answer.read) == (431, 0)
        assert b"headers-too-large" in answer.body


PARSERS: list[tuple[str, str, str]] = [
    ("POST", "/v1/batch", WRITE),
    ("POST", "/v1/track", WRITE),
    ("POST", "/v1/users/u/signals", WRITE),
    ("PUT", "/v1/users/u/consents", OPERATE),
    ("POST", "/v1/inbound-texts", OPERATE),
]


@RARELY
@given(route=st.sampled_from(PARSERS), body=BODIES, wrap=st.booleans())
@example(route=PARSERS[0], body=b"[NaN," * 60_000, wrap=False)
@example(route=PARSERS[0], body=b'{"type": "track", "event": "x", "userId": "u", "properties": {}},' * 4_000, wrap=True)
@example(route=PARSERS[0], body=b"9" * 300_000, wrap=True)
def test_a_body_with_a_key_costs_at_most_its_budget_per_kb(caller, route, body, wrap):
    method, path, key = route
    content = b'{"batch": [' + body.rstrip(b",") + b"]}" if wrap else body
    answer: Any = caller.call(method, path, content, [(b"authorization", b"Bearer " + key.encode())])
    assert answer.cpu < CPU_SECONDS + CPU_PER_KB * len(content) / 1024, f"{answer.cpu:.3f} s for {len(content)} bytes"
    assert answer.status < 500 or answer.status == 503
