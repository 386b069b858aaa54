"""A definition is published whole or refused with every problem at once; a version never changes."""

import pytest

from tests.support.api import CATALOG

KEY = "setup-and-activation"
SOURCE = (CATALOG / "journeys" / f"{KEY}.yaml").read_text()
CHANGED = SOURCE.replace("P1D", "P2D", 1)


@pytest.mark.parametrize("path", sorted((CATALOG / "journeys").glob("*.yaml")), ids=lambda path: path.stem)
async def test_every_shipped_journey_is_publishable(api, path):
    answer = (await api.post("/v1/journeys:check", content=path.read_bytes())).json()
    assert (answer["publishable"], answer["key"], answer["problems"]) == (True, path.stem, [])


async def test_C2_a_journey_whose_messages_take_a_priority_that_the_policy_does_not_allow_is_refused(api):
    pressing = SOURCE.replace("priority: lifecycle", "priority: transactional", 1)
    refused = await api.put(f"/v1/journeys/{KEY}", content=pressing)
    assert refused.status_code == 422
    assert {problem["code"] for problem in refused.json()["errors"]} == {"T533"}
    assert "the policy's `pressing`" in refused.text


async def test_a_new_text_gets_a_new_version_and_the_same_text_does_not(api):
    first = await api.put(f"/v1/journeys/{KEY}", content=SOURCE, params={"by": "dana"})
    again = await api.put(f"/v1/journeys/{KEY}", content=SOURCE)
    changed = await api.put(f"/v1/journeys/{KEY}", content=CHANGED)
    assert [a.status_code for a in (first, again, changed)] == [201, 200, 201]
    assert [a.json()["version"] for a in (first, again, changed)] == [1, 1, 2]
    assert first.headers["etag"] == f'"{first.json()["hash"]}"' == again.headers["etag"]
    back = await api.put(f"/v1/journeys/{KEY}", content=SOURCE)
    assert (back.status_code, back.json()["version"]) == (200, 1), "the same content keeps its version"
    versions = (await api.get(f"/v1/journeys/{KEY}/versions")).json()["items"]
    assert [(v["version"], v["current"], v["published_by"]) for v in versions] == [
        (2, False, "operator"),
        (1, True, "dana via operator"),
    ]


async def test_publishing_with_an_outdated_etag_is_refused(api):
    await api.put(f"/v1/journeys/{KEY}", content=SOURCE)
    seen = (await api.get(f"/v1/journeys/{KEY}")).headers["etag"]
    accepted = await api.put(f"/v1/journeys/{KEY}", content=CHANGED, headers={"If-Match": seen})
    stale = await api.put(f"/v1/journeys/{KEY}", content=SOURCE, headers={"If-Match": seen})
    existing = await api.put(f"/v1/journeys/{KEY}", content=SOURCE, headers={"If-None-Match": "*"})
    assert [answer.status_code for answer in (accepted, stale, existing)] == [200, 412, 412]
    assert (await api.get(f"/v1/journeys/{KEY}")).headers["etag"] == accepted.headers["etag"]


async def test_a_refusal_lists_every_problem_with_its_line_and_fix(api):
    broken = SOURCE.replace("milestone:", "milestne:", 1).replace("start: ", "start: no_", 1)
    refused = await api.put(f"/v1/journeys/{KEY}", content=broken)
    assert refused.status_code == 422
    problem = refused.json()
    assert (problem["type"], problem["turn"]) == ("urn:tenure:problem:invalid-journey", "author")
    assert problem["errors"]
    assert all(
        fault["code"] and fault["line"] and fault["mend"] and fault["turn"] == "author" for fault in problem["errors"]
    )
    dry = (await api.post("/v1/journeys:check", content=broken)).json()
    assert (dry["publishable"], dry["problems"]) == (False, problem["errors"])


BAD = {
    "aliases": b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
    "deep": b"[" * 10_000,
    "numbers": b"journey: x\npriority: " + b"9" * 5_000,
    "NUL": b"journey: a\x00b",
    "not UTF-8": b"journey: \xff",
    "nothing": b"",
    "a list": b"- 1",
    "JSON": b'{"journey": 1}',
}


@pytest.mark.parametrize("name", BAD)
async def test_a_text_that_is_not_a_journey_is_refused_with_errors(api, name):
    refused = await api.put("/v1/journeys/bad", content=BAD[name])
    assert refused.status_code == 422
    assert refused.json()["errors"]


async def test_a_path_that_names_another_journey_is_refused(api):
    refused = await api.put("/v1/journeys/another", content=SOURCE)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "journey")


async def test_a_text_larger_than_the_limit_is_refused(api):
    assert (await api.put("/v1/journeys/large", content=b"#" * 600_000)).status_code == 413


async def test_a_published_journey_can_be_read_listed_and_drawn(api):
    await api.put(f"/v1/journeys/{KEY}", content=SOURCE)
    journey = (await api.get(f"/v1/journeys/{KEY}")).json()
    assert (journey["source"], journey["definition"]["journey"]) == (SOURCE, KEY)
    assert KEY in [item["key"] for item in (await api.get("/v1/journeys")).json()["items"]]
    diagram = await api.get(f"/v1/journeys/{KEY}/diagram", params={"here": "setting_up"})
    assert diagram.headers["content-type"].startswith("text/vnd.mermaid")
    assert diagram.text.startswith("stateDiagram-v2")
    assert "setting_up" in diagram.text
    assert "class s0 here" in diagram.text


async def test_publishing_takes_effect_for_the_next_event(api):
    await api.put(f"/v1/journeys/{KEY}", content=SOURCE)
    await api.post("/v1/users/next/signals", json={"name": "signed_up"})
    (run,) = (await api.get("/v1/users/next/journeys")).json()["items"]
    current = (await api.get(f"/v1/journeys/{KEY}")).json()
    assert (run["journey"], run["definition"], run["version"]) == (KEY, current["hash"], current["version"])
    assert current["open_runs"] == 1
