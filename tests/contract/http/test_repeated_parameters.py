"""Query parameters that are given twice."""

from __future__ import annotations

import httpx
import pytest


@pytest.mark.parametrize("path", ["/v1/holds?by=dana&by=emil", "/v1/tasks?status=open&limit=1&status=closed"])
async def test_a_parameter_that_is_given_twice_is_refused(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(path)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["detail"] == "is given more than once"


async def test_a_parameter_that_no_route_knows_may_be_repeated(api: httpx.AsyncClient) -> None:
    assert (await api.get("/v1/tasks?utm=1&utm=2")).status_code == 200
