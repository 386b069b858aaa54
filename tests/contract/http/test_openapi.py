"""The description is complete: every route says what it does, what it answers and how it refuses."""

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


def test_every_route_is_described_under_a_name_of_its_own():
    assert len(OPERATIONS) == sum(len(route.methods) for route in ROUTES)
    names = [operation["operationId"] for operation in OPERATIONS.values()]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_route_says_what_it_does_what_it_gives_and_how_it_refuses(name):
    operation = OPERATIONS[name]
    assert operation["summary"]
    assert operation["tags"]
    assert "security" in operation
    gives = [status for status in operation["responses"] if status.startswith("2")]
    assert all(operation["responses"][status].get("content") for status in gives)
    assert "503" in operation["responses"]
    for status, response in operation["responses"].items():
        if status in REFUSALS and name != "GET /readyz":
            (media,) = response["content"]
            assert media == "application/problem+json"
            assert response["content"][media]["examples"]


@pytest.mark.parametrize("name", [name for name, operation in OPERATIONS.items() if "requestBody" in operation])
def test_every_body_has_an_example(name):
    contents = OPERATIONS[name]["requestBody"]["content"]
    referenced = [content["schema"].get("$ref", "").rpartition("/")[2] for content in contents.values()]
    schemas = [DOCUMENT["components"]["schemas"].get(ref, {}) for ref in referenced]
    assert any("example" in content for content in contents.values()) or any("example" in schema for schema in schemas)


def test_what_nobody_foresaw_tells_nothing_of_the_inside():
    answer = translate(RuntimeError("the secret of the inside")).response()
    assert answer.status_code == 500
    assert b"secret" not in answer.body
