"""Fuzzing by the API's own description: answers are as documented, and never a 5xx."""

# schemathesis is imported where it is used: it takes a second, and each worker that collects this file would pay for it.

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from journeys.events.segment import CALL_NAMES
from tests.contract.http.test_openapi import DOCUMENT
from tests.support.api import OPERATE, application, served

EXAMPLES = {"positive": 6, "negative": 6}
# Nearly any text is a valid mail, a text that is not a journey is answered with its problems and 200, and an event with
# faults is quarantined with 200.
TOLERANT = {"/v1/journeys:check", "/v1/inbound-mails", *(f"/v1/{name}" for name in CALL_NAMES)}


@cache
def schema() -> Any:
    import schemathesis  # noqa: PLC0415 -- start-up time

    schemathesis.serializer("message/rfc822")(_as_mail)
    return schemathesis.openapi.from_dict(DOCUMENT)


def _as_mail(context, value):
    return value.encode() if isinstance(value, str) else str(value).encode()


@cache
def checks(path: str) -> list[Any]:
    from schemathesis.checks import not_a_server_error  # noqa: PLC0415 -- start-up time
    from schemathesis.specs.openapi import checks as openapi  # noqa: PLC0415 -- start-up time

    of_answers = [
        not_a_server_error,
        openapi.status_code_conformance,
        openapi.content_type_conformance,
        openapi.response_headers_conformance,
        openapi.response_schema_conformance,
    ]
    return of_answers if path in TOLERANT else [*of_answers, openapi.negative_data_rejection]


def is_negative(check: Any) -> bool:
    return bool(check.__name__ == "negative_data_rejection")


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with served(application(module_database_url)) as address:
        yield address


@pytest.mark.parametrize("mode", EXAMPLES)
@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_every_route_answers_as_documented(url, path, mode):
    from schemathesis import GenerationMode  # noqa: PLC0415 -- start-up time

    calls = 0
    for method in DOCUMENT["paths"][path]:
        if mode == "negative" and not _can_be_wrong(path, method):
            continue

        @settings(
            max_examples=EXAMPLES[mode],
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=schema()[path][method].as_strategy(generation_mode=GenerationMode(mode)))
        def answers(case):
            nonlocal calls
            calls += 1
            answer = case.call(base_url=url, auth=(OPERATE, ""))
            # A path of many KB is refused before its route is known, and a precondition that fails before the body is read.
            refused_before = answer.status_code in {412, 431}
            case.validate_response(
                answer, checks=[each for each in checks(path) if not (refused_before and is_negative(each))]
            )

        answers()
    assert calls or mode == "negative"


def _can_be_wrong(path: str, method: str) -> bool:
    """Only an operation with a body, or with parameters that are not any text, can get invalid input."""
    operation = DOCUMENT["paths"][path][method]
    wrong = [each for each in operation.get("parameters", ()) if each["schema"].keys() - {"type", "title"}]
    return bool(wrong or operation.get("requestBody"))
