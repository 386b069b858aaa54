"""The pages that need no login: what they show and change; a GET changes nothing (C5)."""

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


async def create_person(sender: httpx.AsyncClient, name: str) -> str:
    call = {"userId": name, "messageId": f"identify-{name}", "traits": {"email": f"{name}@example.com"}}
    (await sender.post("/v1/identify", json=call)).raise_for_status()
    return name


async def key_of(api: httpx.AsyncClient, user: str) -> str:
    return str((await api.get(f"/v1/users/{user}")).json()["key"])


async def link_path(
    api: httpx.AsyncClient, user: str, purpose: Any, channel: str = "*", topic: str = "*", ref: str = ""
) -> str:
    link = Link(purpose, await key_of(api, user), channel, topic, ref)
    return urlsplit(LINKS.url(link, datetime.now(UTC))).path


async def consents_of(api: httpx.AsyncClient, user: str) -> dict[tuple[str, str], bool]:
    items = (await api.get(f"/v1/users/{user}/consents")).json()["items"]
    return {(item["channel"], item["topic"]): item["granted"] for item in items}


async def consent_log(api: httpx.AsyncClient, user: str) -> list[dict[str, Any]]:
    return list((await api.get(f"/v1/users/{user}/consents/log")).json()["items"])


class PageForm(HTMLParser):
    """The form fields, ids and labels of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.shown: list[str] = []
        self.on: list[str] = []
        self.ids: set[str] = set()
        self.named: set[str] = set()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        self.ids |= {str(attributes["id"])} if "id" in attributes else set()
        for name in ("for", "aria-describedby", "aria-labelledby"):
            self.named |= {str(attributes[name])} if name in attributes else set()
        if tag == "input" and attributes.get("name") == "shown":
            self.shown.append(str(attributes["value"]))
        if tag == "input" and attributes.get("type") == "checkbox" and "checked" in attributes:
            self.on.append(str(attributes["value"]))

    def form(self, *, without: str = "", with_: str = "") -> dict[str, Any]:
        on = [value for value in self.on if value != without] + ([with_] if with_ else [])
        return {"action": "save", "shown": self.shown, "on": on}


# -- one click (RFC 8058) -------------------------------------------------------------------------------------------------


async def test_C5_a_one_click_post_unsubscribes_and_a_get_does_not(api, sender, page):
    await create_person(sender, "one-click")
    path = await link_path(api, "one-click", "unsubscribe", "email", "onboarding", "0123456789abcdef")
    for _ in range(2):
        shown = await page.get(path)
        assert shown.status_code == 200
        assert "Getting started by e-mail" in shown.text
    assert await consents_of(api, "one-click") == {}
    done = await page.post(path, data=ONE_CLICK, headers={"Accept": "*/*"})
    assert (done.status_code, done.history) == (200, [])
    assert "set-cookie" not in done.headers
    assert await consents_of(api, "one-click") == {("email", "onboarding"): False}
    (entry,) = await consent_log(api, "one-click")
    assert (entry["source"], entry["proof"]["message"]) == ("one-click", "0123456789abcdef")
    assert len(entry["proof"]["ip_hash"]) == 64


async def test_RFC8058_a_multipart_one_click_post_unsubscribes(api, sender, page):
    await create_person(sender, "multipart")
    path = await link_path(api, "multipart", "unsubscribe", "email", "onboarding")
    done = await page.post(path, files={"List-Unsubscribe": (None, "One-Click")})
    assert done.status_code == 200
    assert await consents_of(api, "multipart") == {("email", "onboarding"): False}


@pytest.mark.parametrize("body", [{}, {"List-Unsubscribe": "Two-Clicks"}, {"action": "delete"}])
async def test_a_post_without_a_known_action_is_refused_and_changes_nothing(api, sender, page, body):
    await create_person(sender, "asks-nothing")
    path = await link_path(api, "asks-nothing", "unsubscribe", "email", "onboarding")
    refused = await page.post(path, data=body)
    assert refused.status_code == 422
    assert await consents_of(api, "asks-nothing") == {}


async def test_the_unsubscribe_page_has_a_button_and_a_link_to_all_preferences(api, sender, page):
    await create_person(sender, "footer")
    path = await link_path(api, "footer", "unsubscribe", "email", "onboarding")
    shown = await page.get(path)
    (preferences,) = re.findall(r'href="(/p/[^"]+)"', shown.text)
    assert (await page.get(preferences)).status_code == 200
    done = await page.post(path, data={"action": "unsubscribe"})
    assert "You are unsubscribed from Getting started by e-mail." in done.text
    (entry,) = await consent_log(api, "footer")
    assert entry["wording"] == "Do you want to stop getting Getting started by e-mail?"


async def test_an_old_unsubscribe_link_still_works_without_a_link_to_the_preferences(api, sender, page):
    await create_person(sender, "late")
    link = Link("unsubscribe", await key_of(api, "late"), "email", "onboarding")
    path = "/u/" + LINKS.token(link, datetime.now(UTC) - timedelta(days=400))
    assert "/p/" not in (await page.get(path)).text
    assert (await page.post(path, data=ONE_CLICK)).status_code == 200
    assert await consents_of(api, "late") == {("email", "onboarding"): False}


# -- the preference page ---------------------------------------------------------------------------------------------------


async def test_C5_the_preference_page_shows_the_consents_and_saves_the_choices(api, sender, page):
    await create_person(sender, "chooser")
    answer = (await api.post("/v1/users/chooser/preference-link")).json()
    path = urlsplit(answer["url"]).path
    before = PageForm((await page.get(path)).text)
    assert {"email:onboarding", "in_app:onboarding", "email:offers"} <= set(before.shown)
    assert "email:onboarding" in before.on
    assert "email:offers" not in before.on
    assert "email:consent" not in before.shown
    saved = await page.post(path, data=before.form(without="email:onboarding"))
    assert "Your choices are saved." in saved.text
    assert 'role="status"' in saved.text
    assert await consents_of(api, "chooser") == {("email", "onboarding"): False}
    assert "Off: you said no to “Getting started” by e-mail on" in saved.text
    (entry,) = await consent_log(api, "chooser")
    assert entry["source"] == "preference-page"
    assert entry["wording"].startswith("Which messages may we send you? Getting started (Help with")


async def test_C5_lifting_a_stop_of_everything_restores_the_earlier_choices(api, sender, page):
    await create_person(sender, "stopper")
    path = await link_path(api, "stopper", "preferences")
    await page.post(path, data=PageForm((await page.get(path)).text).form(without="in_app:onboarding"))
    stopped = await page.post(path, data={"action": "stop"})
    assert "You have unsubscribed from everything" in stopped.text
    assert PageForm(stopped.text).on == []
    assert (await consents_of(api, "stopper"))["*", "*"] is False
    lifted = await page.post(path, data={"action": "lift"})
    assert await consents_of(api, "stopper") == {("in_app", "onboarding"): False}, "lifting is no opt-in"
    assert "email:onboarding" in PageForm(lifted.text).on
    assert [entry["granted"] for entry in await consent_log(api, "stopper")] == [None, False, False]


async def test_choosing_one_topic_after_a_stop_allows_only_that_topic(api, sender, page):
    await create_person(sender, "picky")
    path = await link_path(api, "picky", "preferences")
    stopped = PageForm((await page.post(path, data={"action": "stop"})).text)
    saved = PageForm((await page.post(path, data=stopped.form(with_="email:onboarding"))).text)
    assert saved.on == ["email:onboarding"]


async def test_only_topics_whose_box_was_shown_are_refused(api, sender, page):
    await create_person(sender, "unshown")
    path = await link_path(api, "unshown", "preferences")
    await page.post(path, data={"action": "save", "shown": ["email:shop", "nonsense"], "on": []})
    assert await consents_of(api, "unshown") == {("email", "shop"): False}


@pytest.mark.parametrize("body", [b"", b"action=explode", b"action=save&action=stop", b"\xff\xfe", b"a&" * 5000])
async def test_an_invalid_form_is_refused_and_changes_nothing(api, sender, page, body):
    await create_person(sender, "strange-form")
    path = await link_path(api, "strange-form", "preferences")
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    refused = await page.post(path, content=body, headers=kind)
    assert 400 <= refused.status_code < 500
    assert "Nothing was changed" in refused.text
    assert await consents_of(api, "strange-form") == {}


async def test_the_pages_are_accessible_and_load_nothing_from_elsewhere(api, sender, page):
    """Labels, headings, language and focus; no script, no style but our own, no frame, no referrer."""
    await create_person(sender, "reader")
    paths = [
        await link_path(api, "reader", purpose, "email", "offers")
        for purpose in ("preferences", "unsubscribe", "confirm")
    ]
    answers = [await page.get(path) for path in paths] + [await page.post(paths[0], data={"action": "stop"})]
    for answer in answers:
        boxes = PageForm(answer.text)
        tags = [tag for tag, _ in boxes.tags]
        assert ("html", {"lang": "en"}) in boxes.tags
        assert tags.count("h1") == tags.count("main") == tags.count("title") == 1
        assert boxes.named <= boxes.ids
        inputs = [attributes for tag, attributes in boxes.tags if tag == "input" and attributes.get("type") != "hidden"]
        labels = [attributes.get("for") for tag, attributes in boxes.tags if tag == "label"]
        assert sorted(str(attributes["id"]) for attributes in inputs) == sorted(str(label) for label in labels)
        assert tags.count("fieldset") == tags.count("legend")
        assert not {"script", "img", "link", "iframe"} & set(tags)
        assert not [
            attributes
            for _, attributes in boxes.tags
            if any(name.startswith("on") or name == "style" for name in attributes)
        ]
        assert all(str(attributes["href"]).startswith("/p/") for tag, attributes in boxes.tags if tag == "a")
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"


async def test_a_topic_name_with_markup_is_escaped(api, sender, page):
    await create_person(sender, "escaper")
    path = await link_path(api, "escaper", "unsubscribe", "email", "<script>alert(1)</script>")
    shown = await page.get(path)
    assert "<script>" not in shown.text
    assert "&lt;script&gt;" in shown.text


@pytest.mark.parametrize("where", ["/p/", "/u/", "/y/"])
async def test_an_invalid_link_gets_404_as_html_or_as_a_problem_document(page, where):
    human = await page.get(f"{where}not-ours")
    machine = await page.get(f"{where}not-ours", headers={"Accept": "*/*"})
    assert (human.status_code, machine.status_code) == (404, 404)
    assert "Copy the whole link from the message." in human.text
    assert machine.headers["content-type"] == "application/problem+json"
    assert (await page.post(f"{where}not-ours", data=ONE_CLICK)).status_code == 404


async def test_a_user_id_equal_to_a_subject_key_does_not_take_over_its_links(api, sender, page):
    await create_person(sender, "target")
    path = await link_path(api, "target", "unsubscribe", "email", "onboarding")
    await create_person(sender, await key_of(api, "target"))
    assert (await page.post(path, data=ONE_CLICK)).status_code == 200
    assert await consents_of(api, "target") == {("email", "onboarding"): False}


async def test_a_link_works_only_for_its_purpose_and_until_it_expires(api, sender, page):
    await create_person(sender, "crossed")
    key = await key_of(api, "crossed")
    now = datetime.now(UTC)
    out = LINKS.token(Link("unsubscribe", key, "email", "onboarding"), now)
    assert (await page.get(f"/p/{out}")).status_code == 404
    assert (await page.post(f"/y/{out}", data={"action": "confirm"})).status_code == 404
    old = LINKS.token(Link("preferences", key), now - timedelta(days=181))
    assert (await page.get(f"/p/{old}")).status_code == 410
    gone = LINKS.token(Link("preferences", "u_nobody"), now)
    assert (await page.get(f"/p/{gone}")).status_code == 404


async def test_a_visitors_preference_link_does_not_open_the_choices_of_the_user_they_are_taken_for(api, sender, page):
    user = await create_person(sender, "owner-of-choices")
    await sender.post("/v1/identify", json={"anonymousId": "borrowed-device", "traits": {"plan": "free"}})
    preferences = await link_path(api, "borrowed-device", "preferences")
    unsubscribe = await link_path(api, "borrowed-device", "unsubscribe", "email", "onboarding")
    assert (await page.get(preferences)).status_code == 200
    assert "/p/" in (await page.get(unsubscribe)).text
    await sender.post("/v1/alias", json={"previousId": "borrowed-device", "userId": user})
    for answer in (await page.get(preferences), await page.post(preferences, data={"action": "lift"})):
        assert (answer.status_code, "You have signed in since" in answer.text) == (410, True)
    for answer in (await page.get(unsubscribe), await page.post(unsubscribe, data=ONE_CLICK)):
        assert answer.status_code == 200, "an old way out still works"
        assert "/p/" not in answer.text, "and does not lead to the user's choices"


# -- double opt-in ----------------------------------------------------------------------------------------------------------


async def requested_data(db, user_key: str) -> dict[str, Any]:
    event = await db.fetchrow(
        "SELECT data FROM events WHERE name = 'consent_requested' AND subject_key = $1 ORDER BY id DESC", user_key
    )
    return dict(json.loads(event["data"]))


def confirm_path(user_key: str, requested: dict[str, Any]) -> str:
    """The path of the link in a confirmation mail, which the gate makes for the request when it sends it."""
    link = Link("confirm", user_key, requested["channel"], requested["topic"], requested["request"])
    return urlsplit(LINKS.url(link, datetime.now(UTC))).path


async def opt_in(api, user: str, channel: str, topic: str, **more: Any) -> dict[str, Any]:
    consent = {
        "channel": channel,
        "topic": topic,
        "granted": True,
        "source": "form",
        "wording": "Send me offers",
        **more,
    }
    answer = await api.put(f"/v1/users/{user}/consents", json=consent)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_C5_a_double_opt_in_counts_only_after_the_confirm_button(api, sender, page, db):
    await create_person(sender, "doubtful")
    assert (await opt_in(api, "doubtful", "email", "offers"))["pending"] is True
    assert await consents_of(api, "doubtful") == {}
    key = await key_of(api, "doubtful")
    confirmation = await requested_data(db, key)
    runs = (await api.get("/v1/users/doubtful/journeys")).json()["items"]
    assert [run["journey"] for run in runs] == ["confirm-consent"]
    path = confirm_path(key, confirmation)
    for _ in range(2):
        assert "Do you want to get Offers by e-mail?" in (await page.get(path)).text
    assert await consents_of(api, "doubtful") == {}
    assert (await page.post(path, data={"action": "look"})).status_code == 422
    for _ in range(2):
        assert "You get Offers by e-mail from now on." in (await page.post(path, data={"action": "confirm"})).text
    assert await consents_of(api, "doubtful") == {("email", "offers"): True}
    last, first = await consent_log(api, "doubtful")
    assert (first["granted"], first["pending"]) == (True, True)
    assert (last["granted"], last["pending"], last["wording"]) == (True, False, "Send me offers")
    assert last["proof"]["confirmed_page"] == "confirmation-page"
    confirmed_events = await db.fetchval(
        "SELECT count(*) FROM events WHERE name = 'consent_confirmed' AND subject_key = $1", key
    )
    assert confirmed_events == 1
    assert (await opt_in(api, "doubtful", "email", "offers"))["pending"] is False, (
        "a confirmed opt-in needs no second confirmation"
    )


@pytest.mark.parametrize(("channel", "topic"), [("*", "*"), ("email", "*"), ("*", "offers")])
async def test_a_general_opt_in_is_pending_until_it_is_confirmed(api, sender, channel, topic):
    user = await create_person(sender, f"general-{channel}-{topic}".replace("*", "all"))
    assert (await opt_in(api, user, channel, topic))["pending"] is True
    assert await consents_of(api, user) == {}
    holds = (await api.get(f"/v1/users/{user}/consents")).json()
    assert [item["topic"] for item in holds["pending"]] == [topic]
    assert not [
        item for item in holds["holds"] if item["topic"] == "offers" and item["allowed"] and item["channel"] == "email"
    ]


async def test_an_opt_out_cancels_a_pending_opt_in(api, sender, page, db):
    await create_person(sender, "fickle")
    await opt_in(api, "fickle", "email", "offers")
    key = await key_of(api, "fickle")
    path = confirm_path(key, await requested_data(db, key))
    opt_out = {"channel": "email", "topic": "*", "granted": False, "source": "form"}
    await api.put("/v1/users/fickle/consents", json=opt_out)
    refused = await page.post(path, data={"action": "confirm"})
    assert refused.status_code == 409
    assert "You have unsubscribed since" in refused.text
    assert await consents_of(api, "fickle") == {("email", "*"): False}


async def join(sender, user: str, address: str) -> str:
    """A visitor who asks for offers at an address, and then turns out to be a user; the visitor's key."""
    await create_person(sender, user)
    visitor = {"anonymousId": f"{user}-device", "messageId": f"{user}-1"}
    traits = {"email": address, "consents": {"email": {"offers": True}}}
    (await sender.post("/v1/identify", json={**visitor, "traits": traits})).raise_for_status()
    return f"{user}-device"


async def test_U2_a_visitors_pending_opt_in_is_confirmed_by_the_user_they_become(api, sender, page, db):
    key = await key_of(api, await join(sender, "joining", "joining@example.com"))
    path = confirm_path(key, await requested_data(db, key))
    both = {"userId": "joining", "anonymousId": "joining-device", "messageId": "joining-2"}
    await sender.post("/v1/identify", json=both)
    assert await consents_of(api, "joining") == {}
    assert (await page.post(path, data={"action": "confirm"})).status_code == 200
    assert await consents_of(api, "joining") == {("email", "offers"): True}


async def test_a_visitors_opt_in_at_another_address_is_not_one_of_the_user_they_become(api, sender, page, db):
    key = await key_of(api, await join(sender, "taken", "mallory@example.com"))
    path = confirm_path(key, await requested_data(db, key))
    both = {"userId": "taken", "anonymousId": "taken-device", "messageId": "taken-2"}
    await sender.post("/v1/identify", json=both)
    refused = await page.post(path, data={"action": "confirm"})
    assert (refused.status_code, "another address" in refused.text) == (409, True)
    assert await consents_of(api, "taken") == {}


async def test_a_visitors_confirmed_opt_in_counts_for_the_user_only_at_the_same_address(api, sender, page, db):
    for user, address, counts in (("same", "same@example.com", True), ("other", "mallory@example.com", False)):
        device = await join(sender, f"early-{user}", address.replace("same@", "early-same@"))
        key = await key_of(api, device)
        assert (
            await page.post(confirm_path(key, await requested_data(db, key)), data={"action": "confirm"})
        ).status_code == 200
        assert await consents_of(api, device) == {("email", "offers"): True}
        both = {"userId": f"early-{user}", "anonymousId": device, "messageId": f"early-{user}-2"}
        (await sender.post("/v1/identify", json=both)).raise_for_status()
        assert bool(await consents_of(api, f"early-{user}")) is counts


async def change_address(sender, user: str, address: str) -> None:
    traits = {"userId": user, "traits": {"email": address}}
    (await sender.post("/v1/identify", json=traits)).raise_for_status()


async def test_an_opt_in_confirmed_at_another_address_is_none(api, sender, page, db):
    """The mailbox of an attacker gets the link, and the address is then changed back."""
    user = await create_person(sender, "victim")
    await change_address(sender, user, "mallory@example.com")
    await opt_in(api, user, "email", "offers")
    key = await key_of(api, user)
    path = confirm_path(key, await requested_data(db, key))
    await change_address(sender, user, "victim@example.com")
    refused = await page.post(path, data={"action": "confirm"})
    assert (refused.status_code, "another address" in refused.text) == (409, True)
    assert await consents_of(api, user) == {}


async def test_a_confirmed_opt_in_ends_with_its_address_and_returns_with_it(api, sender, page, db):
    user = await create_person(sender, "moving")
    await opt_in(api, user, "email", "offers")
    key = await key_of(api, user)
    first = await requested_data(db, key)
    await page.post(confirm_path(key, first), data={"action": "confirm"})
    assert await consents_of(api, user) == {("email", "offers"): True}
    await change_address(sender, user, "moved@example.com")
    assert await consents_of(api, user) == {}
    holds = (await api.get(f"/v1/users/{user}/consents")).json()["holds"]
    assert not [item for item in holds if item["topic"] == "offers" and item["channel"] == "email" and item["allowed"]]
    assert (await opt_in(api, user, "email", "offers"))["pending"] is True, "the new address needs its own"
    assert (await requested_data(db, key))["request"] != first["request"]
    await change_address(sender, user, "MOVING@example.com")
    assert await consents_of(api, user) == {("email", "offers"): True}


async def test_the_confirmation_page_hands_out_nothing_but_its_one_yes(api, sender, page, db):
    user = await create_person(sender, "modest")
    await opt_in(api, user, "email", "offers")
    key = await key_of(api, user)
    path = confirm_path(key, await requested_data(db, key))
    for shown in (await page.get(path), await page.post(path, data={"action": "confirm"})):
        assert "/p/" not in shown.text
        assert "/u/" not in shown.text
        assert "href" not in shown.text


async def test_a_topic_that_no_catalogue_has_is_shown_on_no_page(api, sender, page):
    user = await create_person(sender, "worded")
    properties = {"channel": "email", "topic": "your_account_was_hacked", "granted": False}
    call = {"userId": user, "event": "consent_changed", "properties": properties}
    (await sender.post("/v1/track", json=call)).raise_for_status()
    shown = await page.get(await link_path(api, user, "preferences"))
    assert (shown.status_code, "hacked" in shown.text) == (200, False)


async def test_repeated_opt_ins_send_one_confirmation_link(api, sender, db):
    await create_person(sender, "eager")
    for _ in range(3):
        await opt_in(api, "eager", "email", "offers")
    count = "SELECT count(*) FROM events WHERE name = 'consent_requested' AND subject_key = $1"
    assert await db.fetchval(count, await key_of(api, "eager")) == 1


async def test_an_opt_in_confirmed_elsewhere_needs_a_proof(api, sender):
    await create_person(sender, "imported")
    consent = {"channel": "email", "topic": "offers", "granted": True, "source": "import", "confirmed": True}
    assert (await api.put("/v1/users/imported/consents", json=consent)).status_code == 422
    assert (await opt_in(api, "imported", "email", "offers", confirmed=True, proof={"system": "old-crm"}))[
        "pending"
    ] is False
    assert (await consents_of(api, "imported"))["email", "offers"] is True
