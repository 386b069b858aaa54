"""Whatever is sent, the API answers as it is documented, and never with a 5xx."""

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.contract.http.test_openapi import DOCUMENT
from tests.support.api import OPERATE, application, served

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
EXAMPLES = {GenerationMode.POSITIVE: 6, GenerationMode.NEGATIVE: 6}
schema = schemathesis.openapi.from_dict(DOCUMENT)


# Nearly any text is a mail, and a text that is no journey is answered with its problems: that is what was asked.
TEXTS = {"/v1/journeys:check", "/v1/inbound-mails"}


@schemathesis.serializer("message/rfc822")
def as_mail(ctx, value):
    return value.encode() if isinstance(value, str) else str(value).encode()


@pytest.fixture(scope="module")
def url(module_database_url: str) -> Iterator[str]:
    with served(application(module_database_url)) as found:
        yield found


@pytest.mark.parametrize("mode", EXAMPLES, ids=lambda mode: mode.value)
@pytest.mark.parametrize("path", DOCUMENT["paths"])
def test_every_route_answers_as_documented(url, path, mode):
    for method in DOCUMENT["paths"][path]:
        operation = schema[path][method]
        if mode is GenerationMode.NEGATIVE and not _can_be_wrong(path, method):
            continue

        @settings(
            max_examples=EXAMPLES[mode],
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case):
            checks = [check for check in CHECKS if path not in TEXTS or check is not negative_data_rejection]
            case.call_and_validate(base_url=url, auth=(OPERATE, ""), checks=checks)

        answers()


def _can_be_wrong(path: str, method: str) -> bool:
    """Only what has parameters or a body can be asked wrongly."""
    operation = DOCUMENT["paths"][path][method]
    return bool(operation.get("parameters") or operation.get("requestBody"))
