"""Held events are shown with the person and the account that they name, and to no key that may not read them."""

from __future__ import annotations

import pytest

HELD = "2 events of theirs are held: Button Clicked (not in the tracking plan)"


def track(user: str, message: str, name: str = "Button Clicked", **more: object) -> dict[str, object]:
    return {"userId": user, "event": name, "messageId": message, "properties": {}, **more}


async def known(sender, user: str) -> None:
    (await sender.post("/v1/identify", json={"userId": user, "traits": {"first_name": "Ada"}})).raise_for_status()


async def test_a_person_their_timeline_and_their_export_say_what_of_theirs_is_held(api, sender):
    await known(sender, "ada")
    await known(sender, "ben")
    for number in (1, 2):
        await sender.post("/v1/track", json=track("ada", f"held-{number}"))
    held = (await api.get("/v1/users/ada")).json()["held"]
    assert (held["count"], held["text"]) == (2, HELD)
    assert [group["name"] for group in held["names"]] == ["Button Clicked"]
    lines = (await api.get("/v1/users/ada/timeline", params={"limit": 2})).json()
    assert [(line["source"], line["kind"], line["about"]) for line in lines["items"]] == [
        ("quarantine", "held", "Button Clicked")
    ] * 2
    assert lines["items"][0]["text"] == "Button Clicked is held: 'Button Clicked' is not in the tracking plan"
    rest = (await api.get("/v1/users/ada/timeline", params={"cursor": lines["next"]})).json()["items"]
    assert [line["source"] for line in rest] == ["event"]
    page = await api.get("/v1/users/ada/export", params={"format": "html"})
    assert HELD in page.text
    assert (await api.get("/v1/users/ben")).json()["held"] == {"count": 0, "names": [], "text": ""}


async def test_events_of_a_visitor_of_an_account_and_of_an_id_with_blanks_are_shown_too(api, sender):
    await sender.post("/v1/identify", json={"userId": "cleo", "anonymousId": "cleo-device", "traits": {}})
    await sender.post("/v1/group", json={"userId": "cleo", "groupId": "acme", "traits": {}})
    visit = {"anonymousId": "cleo-device", "event": "Odd Visit", "messageId": "odd-1"}
    await sender.post("/v1/track", json=visit)
    await sender.post("/v1/track", json=track(" cleo\n", "odd-2", context={"groupId": "acme"}))
    (direct,) = (await sender.post("/v1/users/cleo/signals", json={"name": "unheard_of"})).json()["quarantined"]
    assert "unheard_of" in direct
    held = (await api.get("/v1/users/cleo")).json()["held"]
    assert {group["name"] for group in held["names"]} == {"Odd Visit", "Button Clicked", "unheard_of"}
    assert (await api.get("/v1/accounts/acme")).json()["held"]["text"] == (
        "1 event of theirs is held: Button Clicked (not in the tracking plan)"
    )


async def test_what_is_settled_is_held_no_more(api, sender):
    await known(sender, "dora")
    await sender.post("/v1/track", json=track("dora", "settled-1", "Settled"))
    (item,) = (await api.get("/v1/quarantine", params={"name": "Settled"})).json()["items"]
    await api.post(f"/v1/quarantine/{item['id']}/discard")
    assert (await api.get("/v1/users/dora")).json()["held"]["count"] == 0


async def test_somebody_of_whom_everything_is_held_is_unknown_and_the_answer_says_why(api, sender):
    await sender.post("/v1/track", json=track("only-held", "only-1"))
    unknown = await api.get("/v1/users/only-held")
    assert (unknown.status_code, unknown.json()["detail"]) == (
        404,
        "No event has named this user yet. 1 event of theirs is held: Button Clicked (not in the tracking plan).",
    )
    assert (await api.get("/v1/accounts/only-held")).json()["detail"] == "No event has named this account yet."


@pytest.mark.parametrize("path", ["users/eve", "users/eve/timeline", "users/eve/export", "quarantine", "quarantine/1"])
async def test_a_key_that_may_not_read_sees_no_held_event(sender, path):
    await known(sender, "eve")
    await sender.post("/v1/track", json=track("eve", "secret-1", "Secret Thing"))
    refused = await sender.get(f"/v1/{path}")
    assert (refused.status_code, "Secret" in refused.text) == (403, False)


async def test_all_events_of_a_name_are_replayed_page_by_page(api, sender, monkeypatch):
    monkeypatch.setattr("api.events.quarantine.AT_ONCE", 2)
    for number in range(5):
        await sender.post("/v1/track", json=track(f"page{number}", f"page-{number}", "Paged"))
    seen, cursor = [], None
    while True:
        query = {"name": "Paged", **({"cursor": cursor} if cursor else {})}
        result = (await api.post("/v1/quarantine:replay", params=query)).json()
        seen.append((result["replayed"], result["still_held"]))
        if (cursor := result["next"]) is None:
            break
    assert seen == [(0, 2), (0, 2), (0, 1)]
