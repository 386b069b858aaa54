"""The pages that need no login: what they show, what they do, and that looking does nothing (C5)."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from journeys.consent.rules import DEV_BASE, DEV_KEY
from journeys.tokens.signed_links import Link, Links
from tests.support.api import CATALOG

HTML = {"Accept": "text/html"}
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
LINKS = Links(DEV_BASE, (DEV_KEY,))
NOBODY = httpx.BasicAuth("", "")


@pytest.fixture(scope="module")
async def page(api: httpx.AsyncClient, app: Any):
    """A browser without any key."""
    for name in ("setup-and-activation", "confirm-consent"):
        text = (CATALOG / "journeys" / f"{name}.yaml").read_bytes()
        (await api.put(f"/v1/journeys/{name}", content=text)).raise_for_status()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api", headers=HTML) as made:
        yield made


async def person(sender: httpx.AsyncClient, name: str) -> str:
    call = {"userId": name, "messageId": f"identify-{name}", "traits": {"email": f"{name}@example.com"}}
    (await sender.post("/v1/identify", json=call)).raise_for_status()
    return name


async def key_of(api: httpx.AsyncClient, user: str) -> str:
    return str((await api.get(f"/v1/users/{user}")).json()["key"])


async def way(
    api: httpx.AsyncClient, user: str, purpose: Any, channel: str = "*", topic: str = "*", ref: str = ""
) -> str:
    link = Link(purpose, await key_of(api, user), channel, topic, ref)
    return urlsplit(LINKS.url(link, datetime.now(UTC))).path


async def said(api: httpx.AsyncClient, user: str) -> dict[tuple[str, str], bool]:
    items = (await api.get(f"/v1/users/{user}/consents")).json()["items"]
    return {(item["channel"], item["topic"]): item["granted"] for item in items}


async def log(api: httpx.AsyncClient, user: str) -> list[dict[str, Any]]:
    return list((await api.get(f"/v1/users/{user}/consents/log")).json()["items"])


class Boxes(HTMLParser):
    """What a browser would send, and what somebody who cannot see the page is told."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.on: list[str] = []
        self.ids: set[str] = set()
        self.named: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        self.ids |= {str(found["id"])} if "id" in found else set()
        for name in ("for", "aria-describedby", "aria-labelledby"):
            self.named |= {str(found[name])} if name in found else set()
        if tag == "input" and found.get("name") == "shown":
            self.shown.append(str(found["value"]))
        if tag == "input" and found.get("type") == "checkbox" and "checked" in found:
            self.on.append(str(found["value"]))

    def form(self, *, without: str = "", with_: str = "") -> dict[str, Any]:
        on = [value for value in self.on if value != without] + ([with_] if with_ else [])
        return {"action": "save", "shown": self.shown, "on": on}


# -- one click (RFC 8058) -------------------------------------------------------------------------------------------------


async def test_C5_one_click_unsubscribes_and_looking_does_not(api, sender, page):
    await person(sender, "one-click")
    path = await way(api, "one-click", "unsubscribe", "email", "onboarding", "0123456789abcdef")
    for _ in range(2):
        shown = await page.get(path)
        assert shown.status_code == 200
        assert "Getting started by e-mail" in shown.text
    assert await said(api, "one-click") == {}
    done = await page.post(path, data=ONE_CLICK, headers={"Accept": "*/*"})
    assert (done.status_code, done.history) == (200, [])
    assert "set-cookie" not in done.headers
    assert await said(api, "one-click") == {("email", "onboarding"): False}
    (entry,) = await log(api, "one-click")
    assert (entry["source"], entry["proof"]["message"]) == ("one-click", "0123456789abcdef")
    assert len(entry["proof"]["ip_hash"]) == 64


async def test_RFC8058_the_form_may_be_multipart(api, sender, page):
    await person(sender, "multipart")
    path = await way(api, "multipart", "unsubscribe", "email", "onboarding")
    done = await page.post(path, files={"List-Unsubscribe": (None, "One-Click")})
    assert done.status_code == 200
    assert await said(api, "multipart") == {("email", "onboarding"): False}


@pytest.mark.parametrize("body", [{}, {"List-Unsubscribe": "Two-Clicks"}, {"action": "delete"}])
async def test_a_post_that_asks_for_nothing_does_nothing(api, sender, page, body):
    await person(sender, "asks-nothing")
    path = await way(api, "asks-nothing", "unsubscribe", "email", "onboarding")
    refused = await page.post(path, data=body)
    assert refused.status_code == 422
    assert await said(api, "asks-nothing") == {}


async def test_the_page_behind_the_footers_link_has_a_button_and_leads_to_all_choices(api, sender, page):
    await person(sender, "footer")
    path = await way(api, "footer", "unsubscribe", "email", "onboarding")
    shown = await page.get(path)
    (preferences,) = re.findall(r'href="(/p/[^"]+)"', shown.text)
    assert (await page.get(preferences)).status_code == 200
    done = await page.post(path, data={"action": "unsubscribe"})
    assert "You are unsubscribed from Getting started by e-mail." in done.text
    (entry,) = await log(api, "footer")
    assert entry["wording"] == "Do you want to stop getting Getting started by e-mail?"


async def test_an_old_way_out_still_leads_out_and_no_longer_in(api, sender, page):
    await person(sender, "late")
    link = Link("unsubscribe", await key_of(api, "late"), "email", "onboarding")
    path = "/u/" + LINKS.token(link, datetime.now(UTC) - timedelta(days=400))
    assert "/p/" not in (await page.get(path)).text
    assert (await page.post(path, data=ONE_CLICK)).status_code == 200
    assert await said(api, "late") == {("email", "onboarding"): False}


# -- the preference page ---------------------------------------------------------------------------------------------------


async def test_C5_the_page_shows_what_holds_and_saves_what_is_chosen(api, sender, page):
    await person(sender, "chooser")
    answer = (await api.post("/v1/users/chooser/preference-link")).json()
    path = urlsplit(answer["url"]).path
    before = Boxes((await page.get(path)).text)
    assert {"email:onboarding", "in_app:onboarding", "email:offers"} <= set(before.shown)
    assert "email:onboarding" in before.on
    assert "email:offers" not in before.on
    assert "email:consent" not in before.shown
    saved = await page.post(path, data=before.form(without="email:onboarding"))
    assert "Your choices are saved." in saved.text
    assert 'role="status"' in saved.text
    assert await said(api, "chooser") == {("email", "onboarding"): False}
    assert "Off: you said no to “Getting started” by e-mail on" in saved.text
    (entry,) = await log(api, "chooser")
    assert entry["source"] == "preference-page"
    assert entry["wording"].startswith("Which messages may we send you? Getting started (Help with")


async def test_C5_everything_can_be_stopped_and_let_come_again_as_it_was(api, sender, page):
    await person(sender, "stopper")
    path = await way(api, "stopper", "preferences")
    await page.post(path, data=Boxes((await page.get(path)).text).form(without="in_app:onboarding"))
    stopped = await page.post(path, data={"action": "stop"})
    assert "You have unsubscribed from everything" in stopped.text
    assert Boxes(stopped.text).on == []
    assert (await said(api, "stopper"))["*", "*"] is False
    lifted = await page.post(path, data={"action": "lift"})
    assert await said(api, "stopper") == {("in_app", "onboarding"): False}, "lifting is no yes to anything"
    assert "email:onboarding" in Boxes(lifted.text).on
    assert [entry["granted"] for entry in await log(api, "stopper")] == [None, False, False]


async def test_one_topic_chosen_after_a_stop_brings_back_that_topic_only(api, sender, page):
    await person(sender, "picky")
    path = await way(api, "picky", "preferences")
    stopped = Boxes((await page.post(path, data={"action": "stop"})).text)
    saved = Boxes((await page.post(path, data=stopped.form(with_="email:onboarding"))).text)
    assert saved.on == ["email:onboarding"]


async def test_a_box_that_was_never_shown_is_not_refused(api, sender, page):
    await person(sender, "unshown")
    path = await way(api, "unshown", "preferences")
    await page.post(path, data={"action": "save", "shown": ["email:shop", "nonsense"], "on": []})
    assert await said(api, "unshown") == {("email", "shop"): False}


@pytest.mark.parametrize("body", [b"", b"action=explode", b"action=save&action=stop", b"\xff\xfe", b"a&" * 5000])
async def test_a_form_that_is_not_ours_changes_nothing(api, sender, page, body):
    await person(sender, "strange-form")
    path = await way(api, "strange-form", "preferences")
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = await page.post(path, content=body, headers=kind)
    assert 400 <= refused.status_code < 500
    assert "Nothing was changed" in refused.text
    assert await said(api, "strange-form") == {}


async def test_the_pages_can_be_read_by_everybody_and_ask_nobody_else_for_anything(api, sender, page):
    """Labels, headings, language and focus; no script, no style but our own, no frame, no referrer."""
    await person(sender, "reader")
    paths = [
        await way(api, "reader", purpose, "email", "offers") for purpose in ("preferences", "unsubscribe", "confirm")
    ]
    answers = [await page.get(path) for path in paths] + [await page.post(paths[0], data={"action": "stop"})]
    for answer in answers:
        boxes = Boxes(answer.text)
        tags = [tag for tag, _ in boxes.tags]
        assert ("html", {"lang": "en"}) in boxes.tags
        assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
        assert boxes.named <= boxes.ids
        inputs = [found for tag, found in boxes.tags if tag == "input" and found.get("type") != "hidden"]
        labels = [found.get("for") for tag, found in boxes.tags if tag == "label"]
        assert sorted(str(found["id"]) for found in inputs) == sorted(str(each) for each in labels)
        assert tags.count("fieldset") == tags.count("legend")
        assert not {"script", "img", "link", "iframe"} & set(tags)
        assert not [found for _, found in boxes.tags if any(name.startswith("on") or name == "style" for name in found)]
        assert all(str(found["href"]).startswith("/p/") for tag, found in boxes.tags if tag == "a")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_topic_named_like_markup_stays_text(api, sender, page):
    await person(sender, "escaper")
    path = await way(api, "escaper", "unsubscribe", "email", "<script>alert(1)</script>")
    shown = await page.get(path)
    assert "<script>" not in shown.text
    assert "&lt;script&gt;" in shown.text


@pytest.mark.parametrize("where", ["/p/", "/u/", "/y/"])
async def test_a_link_that_is_not_ours_opens_nothing_and_says_so_in_the_readers_format(page, where):
    human = await page.get(f"{where}not-ours")
    machine = await page.get(f"{where}not-ours", headers={"Accept": "*/*"})
    assert (human.status_code, machine.status_code) == (404, 404)
    assert "Copy the whole link from the message." in human.text
    assert machine.headers["content-type"] == "application/problem+json"
    assert (await page.post(f"{where}not-ours", data=ONE_CLICK)).status_code == 404


async def test_nobody_takes_over_a_link_by_calling_themselves_by_its_key(api, sender, page):
    await person(sender, "target")
    path = await way(api, "target", "unsubscribe", "email", "onboarding")
    await person(sender, await key_of(api, "target"))
    assert (await page.post(path, data=ONE_CLICK)).status_code == 200
    assert await said(api, "target") == {("email", "onboarding"): False}


async def test_a_link_opens_only_what_it_is_for_and_only_while_it_is_good(api, sender, page):
    await person(sender, "crossed")
    key = await key_of(api, "crossed")
    now = datetime.now(UTC)
    out = LINKS.token(Link("unsubscribe", key, "email", "onboarding"), now)
    assert (await page.get(f"/p/{out}")).status_code == 404
    assert (await page.post(f"/y/{out}", data={"action": "confirm"})).status_code == 404
    old = LINKS.token(Link("preferences", key), now - timedelta(days=181))
    assert (await page.get(f"/p/{old}")).status_code == 410
    gone = LINKS.token(Link("preferences", "u_nobody"), now)
    assert (await page.get(f"/p/{gone}")).status_code == 404


# -- double opt-in ----------------------------------------------------------------------------------------------------------


async def requested(db, user_key: str) -> dict[str, Any]:
    found = await db.fetchrow(
        "SELECT data FROM events WHERE name = 'consent_requested' AND subject_key = $1 ORDER BY id DESC", user_key
    )
    return dict(json.loads(found["data"]))


async def grant(api, user: str, channel: str, topic: str, **more: Any) -> dict[str, Any]:
    wish = {"channel": channel, "topic": topic, "granted": True, "source": "form", "wording": "Send me offers", **more}
    answer = await api.put(f"/v1/users/{user}/consents", json=wish)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_C5_a_yes_that_needs_confirming_is_none_before_its_button_is_pressed(api, sender, page, db):
    await person(sender, "doubtful")
    assert (await grant(api, "doubtful", "email", "offers"))["pending"] is True
    assert await said(api, "doubtful") == {}
    key = await key_of(api, "doubtful")
    asked = await requested(db, key)
    runs = (await api.get("/v1/users/doubtful/journeys")).json()["items"]
    assert [run["journey"] for run in runs] == ["confirm-consent"]
    path = urlsplit(asked["link"]).path
    for _ in range(2):
        assert "Do you want to get Offers by e-mail?" in (await page.get(path)).text
    assert await said(api, "doubtful") == {}
    assert (await page.post(path, data={"action": "look"})).status_code == 422
    for _ in range(2):
        assert "You get Offers by e-mail from now on." in (await page.post(path, data={"action": "confirm"})).text
    assert await said(api, "doubtful") == {("email", "offers"): True}
    last, first = await log(api, "doubtful")
    assert (first["granted"], first["pending"]) == (True, True)
    assert (last["granted"], last["pending"], last["wording"]) == (True, False, "Send me offers")
    assert last["proof"]["confirmed_page"] == "confirmation-page"
    told = await db.fetchval("SELECT count(*) FROM events WHERE name = 'consent_confirmed' AND subject_key = $1", key)
    assert told == 1
    assert (await grant(api, "doubtful", "email", "offers"))["pending"] is False, "who has confirmed has confirmed"


@pytest.mark.parametrize(("channel", "topic"), [("*", "*"), ("email", "*"), ("*", "offers")])
async def test_a_general_yes_waits_too(api, sender, channel, topic):
    user = await person(sender, f"general-{channel}-{topic}".replace("*", "all"))
    assert (await grant(api, user, channel, topic))["pending"] is True
    assert await said(api, user) == {}
    holds = (await api.get(f"/v1/users/{user}/consents")).json()
    assert [item["topic"] for item in holds["pending"]] == [topic]
    assert not [
        item for item in holds["holds"] if item["topic"] == "offers" and item["allowed"] and item["channel"] == "email"
    ]


async def test_a_no_in_between_ends_the_yes_that_was_waiting(api, sender, page, db):
    await person(sender, "fickle")
    await grant(api, "fickle", "email", "offers")
    path = urlsplit((await requested(db, await key_of(api, "fickle")))["link"]).path
    no = {"channel": "email", "topic": "*", "granted": False, "source": "form"}
    await api.put("/v1/users/fickle/consents", json=no)
    refused = await page.post(path, data={"action": "confirm"})
    assert refused.status_code == 409
    assert "You have unsubscribed since" in refused.text
    assert await said(api, "fickle") == {("email", "*"): False}


async def test_U2_a_visitors_pending_yes_is_confirmed_by_the_user_they_turn_out_to_be(api, sender, page, db):
    await person(sender, "joining")
    visitor = {"anonymousId": "joining-device", "messageId": "joining-1"}
    await sender.post("/v1/identify", json={**visitor, "traits": {"consents": {"email": {"offers": True}}}})
    asked = await requested(db, await key_of(api, "joining-device"))
    both = {"userId": "joining", "anonymousId": "joining-device", "messageId": "joining-2"}
    await sender.post("/v1/identify", json=both)
    assert await said(api, "joining") == {}
    assert (await page.post(urlsplit(asked["link"]).path, data={"action": "confirm"})).status_code == 200
    assert await said(api, "joining") == {("email", "offers"): True}


async def test_asking_again_and_again_sends_one_link(api, sender, db):
    await person(sender, "eager")
    for _ in range(3):
        await grant(api, "eager", "email", "offers")
    count = "SELECT count(*) FROM events WHERE name = 'consent_requested' AND subject_key = $1"
    assert await db.fetchval(count, await key_of(api, "eager")) == 1


async def test_what_was_confirmed_elsewhere_holds_and_needs_a_proof_that_says_where(api, sender):
    await person(sender, "imported")
    wish = {"channel": "email", "topic": "offers", "granted": True, "source": "import", "confirmed": True}
    assert (await api.put("/v1/users/imported/consents", json=wish)).status_code == 422
    assert (await grant(api, "imported", "email", "offers", confirmed=True, proof={"system": "old-crm"}))[
        "pending"
    ] is False
    assert (await said(api, "imported"))["email", "offers"] is True
