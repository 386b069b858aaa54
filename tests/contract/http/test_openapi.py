"""The OpenAPI document is complete: every route has its purpose, its responses, its errors and examples."""

import pytest

from api.http.openapi import document
from api.http.problems import KINDS, translate
from tests.support.api import application

ROUTES = application("postgresql://nowhere/none").app.router.routes
DOCUMENT = document(ROUTES)
OPERATIONS = {
    f"{method.upper()} {path}": operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}
REFUSALS = {str(kind.status) for kind in KINDS.values()}


def test_every_route_has_its_own_operation_id():
    assert len(OPERATIONS) == sum(len(route.methods) for route in ROUTES)
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_route_documents_its_purpose_its_responses_and_its_errors(name):
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["tags"]
    assert "security" in operation
    successes = [status for status in operation["responses"] if status.startswith("2")]
    assert all(operation["responses"][status].get("content") for status in successes)
    assert "503" in operation["responses"]
    for status, response in operation["responses"].items():
        if status in REFUSALS and name != "GET /readyz":
            (media,) = response["content"]
            assert media == "application/problem+json"
            assert response["content"][media]["examples"]


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if "requestBody" in operation])
def test_every_request_body_has_an_example(name):
    contents = OPERATIONS[name]["requestBody"]["content"]
    referenced = [content["schema"].get("$ref", "").rpartition("/")[2] for content in contents.values()]
    schemas = [DOCUMENT["components"]["schemas"].get(ref, {}) for ref in referenced]
    assert any("example" in content for content in contents.values()) or any("example" in schema for schema in schemas)


def test_an_unexpected_error_reveals_nothing_internal():
    answer = translate(RuntimeError("the secret of the inside")).response()
    assert answer.status_code == 500
    assert b"secret" not in answer.body
