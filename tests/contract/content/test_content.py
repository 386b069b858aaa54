"""Templates over HTTP: owners, uses, previews and test sends (C9, C11)."""

from __future__ import annotations

import email
import email.policy
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from cli.api_client import ApiClient
from journeys.content.template_info import TemplateInfo
from tests.contract.inbox.test_clicks import JOURNEY_ON_CLICKS
from tests.support.api import CATALOG, OPERATE, WRITE, application, client, served
from tests.support.own_keys import OWN_KEYS
from worker.composition.channels import content_preview
from worker.provider_settings import ProviderSettings
from worker.settings import Settings
from worker.stack.mail_sink import listen_for_mail as mail_server
from worker.stack.providers.environment import KEY

TEMPLATE = """---
owner: team
topic: onboarding
stage: setup
action: {label: Go on, url: "https://app.example.com/"}
review_date: %s
status: %s
subject: Hello
---
Hello.
"""


async def test_C9_templates_are_listed_with_their_owner_and_the_journeys_that_use_them(api, db):
    await api.put("/v1/journeys/hears-clicks", content=JOURNEY_ON_CLICKS)
    for n, status in enumerate(("sent", "sent", "withheld")):
        await db.execute(
            """INSERT INTO messages (key, run, step, subject_key, recipient, journey, state, visit, action, template, via,
                 priority, at, status, decided_at)
               VALUES ($1, 'r', 1, 'u', 'u', 'old-journey', 's', 1, 'a', 'setup/first-steps', '[]', 'p', now(), $2, now())""",
            f"count-{n}", status,
        )  # fmt: skip
    items = {item["name"]: item for item in (await api.get("/v1/templates")).json()["items"]}
    template = items["setup/first-steps"]
    assert (template["owner"], template["status"], template["review_date"], template["overdue"]) == (
        "onboarding-team",
        "live",
        "2027-03-31",
        False,
    )
    assert [variant["name"] for variant in template["variants"]] == ["de", "admin"]
    assert {use["journey"]: (use["actions"], use["sent"]) for use in template["used_by"]} == {
        "hears-clicks": (["hello"], 0),
        "old-journey": ([], 2),
    }
    assert template["reuse"] == {"journeys": 1, "sent": 2}
    assert items["support/follow-up"]["variables"] == {"ticket_id": "string"}
    assert items["setup/your-checklist"]["kind"] == "checklist"


async def preview(api, name: str = "setup/first-steps", **options) -> httpx.Response:
    answer: httpx.Response = await api.post(f"/v1/templates/{name.replace('/', '%2F')}/preview", json=options)
    return answer


async def test_C11_a_preview_renders_the_template_for_a_sample_profile(api):
    shown = (await preview(api, profile={"first_name": "Ada", "role": "admin"})).json()
    assert (shown["variant"], shown["subject"]) == ("admin", "Ada, set it up once for everybody")
    assert "https://app.example.com/setup" in shown["text"]
    assert "<html" in shown["html"]
    assert (shown["fault"], shown["warnings"]) == (None, [])
    assert shown["missing"] == ["profile.last_step", "profile.use_case"]


async def test_C11_a_preview_for_a_real_person_uses_their_profile_and_writes_nothing(api, db):
    await api.post(
        "/v1/identify", json={"userId": "ada", "messageId": "c-1", "traits": {"first_name": "Ada", "locale": "de"}}
    )
    await api.post(
        "/v1/group", json={"userId": "ada", "groupId": "acme", "messageId": "c-2", "traits": {"name": "Acme"}}
    )
    before = [await db.fetchval(f"SELECT count(*) FROM {table}") for table in ("messages", "events", "inbox", "outbox")]
    shown = (await preview(api, user="ada")).json()
    assert (shown["variant"], shown["subject"]) == ("de", "Ada, Ihre ersten drei Schritte")
    assert (await preview(api, user="ada", locale="en")).json()["variant"] == "base"
    over = (await preview(api, user="ada", profile={"first_name": "Bo"})).json()
    assert over["subject"] == "Bo, Ihre ersten drei Schritte"
    renewal = (
        await preview(api, "renewal/value-report", user="ada", data={"renewal_date": "2026-09-01T00:00:00Z"})
    ).json()
    assert renewal["subject"] == "What Acme got out of this year"
    assert before == [
        await db.fetchval(f"SELECT count(*) FROM {table}") for table in ("messages", "events", "inbox", "outbox")
    ]


async def test_C11_a_preview_for_a_channel_is_rendered_for_that_channel(api):
    shown = (await preview(api, channel="in_app", data={})).json()
    assert shown["html"].startswith("<p>Most people")
    assert (await preview(api, "shop/win-back", channel="in_app")).json()["warnings"] == ["it is not sent by in_app"]


async def test_C11_a_preview_without_a_required_variable_names_it(api):
    shown = (await preview(api, "support/follow-up")).json()
    assert (shown["subject"], shown["missing"]) == (None, ["ticket_id"])
    assert shown["fault"] == "support/follow-up: 'ticket_id' is undefined"


@pytest.mark.parametrize(
    ("name", "options", "status"),
    [
        ("setup/nothing", {}, 404),
        ("setup/first-steps", {"user": "no-such-person"}, 404),
        ("setup/first-steps", {"variant": "fr"}, 404),
        ("setup/first-steps", {"colour": "red"}, 422),
    ],
)
async def test_an_invalid_preview_request_is_refused(api, name, options, status):
    assert (await preview(api, name, **options)).status_code == status


# -- other catalogues --------------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def small_catalog(tmp_path, module_database_url) -> AsyncIterator[httpx.AsyncClient]:
    """The API over a small catalogue: one live template, one overdue and one draft."""
    for name in ("tracking-plan.yaml", "policy.yaml"):
        (tmp_path / name).write_bytes((CATALOG / name).read_bytes())
    folder = tmp_path / "templates"
    folder.mkdir()
    for name, day, status in (
        ("good", "2099-01-01", "live"),
        ("old", "2020-01-01", "live"),
        ("new", "2099-01-01", "draft"),
    ):
        (folder / f"{name}.md").write_text(TEMPLATE % (day, status))
    (folder / "good@email.md").write_text("---\nstatus: draft\nsubject: Soon\n---\nSoon.")
    async with client(application(module_database_url, catalog=tmp_path)) as made:
        yield made


async def test_C11_a_preview_of_a_draft_warns_that_it_is_not_sent(small_catalog):
    shown = (await preview(small_catalog, "new")).json()
    assert (shown["subject"], shown["status"]) == ("Hello", "draft")
    assert shown["warnings"] == ["it is draft, so it is sent to nobody"]
    assert (await preview(small_catalog, "good")).json()["variant"] == "base"
    assert (await preview(small_catalog, "good", variant="email")).json()["subject"] == "Soon"


async def test_C11_publishing_warns_of_overdue_templates_and_refuses_drafts(small_catalog):
    text = JOURNEY_ON_CLICKS.replace("hears-clicks", "warned").replace("name: hello, ", "")
    checked = (await small_catalog.post("/v1/journeys:check", content=text.replace("setup/first-steps", "old"))).json()
    assert checked["publishable"], checked
    published = (
        await small_catalog.put("/v1/journeys/warned", content=text.replace("setup/first-steps", "old"))
    ).json()
    words = ["old was due for review on 2020-01-01: its owner, team, should review it"]
    assert published["warnings"] == checked["warnings"] == words
    good = await small_catalog.put("/v1/journeys/warned", content=text.replace("setup/first-steps", "good"))
    assert good.json()["warnings"] == []
    draft = await small_catalog.put("/v1/journeys/warned", content=text.replace("setup/first-steps", "new"))
    assert [error["code"] for error in draft.json()["errors"]] == ["T508"]
    listed = {item["name"]: item["overdue"] for item in (await small_catalog.get("/v1/templates")).json()["items"]}
    assert listed == {"good": False, "new": False, "old": True}


async def test_C10_publishing_warns_of_a_task_without_a_deadline(small_catalog):
    send = "{send: setup/first-steps, name: hello, via: email}"
    for term, words in (("", ["states.here.do[0].task: the task call has no deadline and is never overdue: add `within` or `sla`"]),
                        (", sla: PT24H", []), (", within: PT4H", [])):  # fmt: skip
        text = JOURNEY_ON_CLICKS.replace("hears-clicks", "undated").replace(
            send, f"{{task: call, owner: someone{term}}}"
        )
        checked = (await small_catalog.post("/v1/journeys:check", content=text)).json()
        published = (await small_catalog.put("/v1/journeys/undated", content=text)).json()
        assert published["warnings"] == checked["warnings"] == words


async def test_an_unreadable_catalogue_is_an_author_error(small_catalog, tmp_path):
    (tmp_path / "templates" / "bad.md").write_text("no front matter")
    refused = await small_catalog.get("/v1/templates")
    assert (refused.status_code, refused.json()["errors"][0]["turn"]) == (409, "author")
    assert "bad.md:1: a template starts with front matter" in refused.json()["errors"][0]["detail"]


# -- test sends --------------------------------------------------------------------------------------------------------


async def test_a_test_send_goes_only_to_the_allow_list_is_marked_and_is_not_in_the_ledger(
    tmp_path, module_database_url, db
):
    async with await mail_server(tmp_path / "mail") as sink:
        port = sink.sockets[0].getsockname()[1]
        settings = Settings(
            smtp_url=f"smtp://127.0.0.1:{port}",
            allowed_recipients="*@team.example",
            link_base="https://l",
            **OWN_KEYS,
        )
        async with client(application(module_database_url, desk=content_preview(settings))) as made:
            url = "/v1/templates/setup%2Ffirst-steps/test-send"
            sent = await made.post(url, json={"to": "me@team.example", "profile": {"first_name": "Ada"}})
            assert (sent.status_code, sent.json()["subject"]) == (200, "[Test] Ada, your first three steps")
            for to in ("ada@example.com", "me@team.example\r\nBcc: x", "nobody"):
                refused = await made.post(url, json={"to": to})
                assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/to")
            broken = await made.post("/v1/templates/support%2Ffollow-up/test-send", json={"to": "me@team.example"})
            assert (broken.status_code, "ticket_id" in broken.json()["detail"]) == (409, True)
    (mail,) = mails(tmp_path / "mail" / "new")
    assert (mail["X-Tenure-Test"], mail["To"]) == ("1", "me@team.example")
    assert "List-Unsubscribe" not in mail
    assert "https://l/c/" not in mail.as_string()
    assert await db.fetchval("SELECT count(*) FROM messages WHERE recipient = 'me@team.example'") == 0


async def test_a_test_send_by_resend_goes_only_to_the_allow_list(tmp_path, local, module_database_url):
    async with await mail_server(tmp_path / "mail") as sink:
        port = sink.sockets[0].getsockname()[1]
        settings = Settings(
            smtp_url=f"smtp://127.0.0.1:{port}", smtp_lookup=tmp_path / "mail", allowed_recipients="*@team.example",
            link_base="https://l", **OWN_KEYS,
        )  # fmt: skip
        given = ProviderSettings(
            resend_key=KEY, resend_base=f"{local.url}/resend", outgoing_allow=local.origin, providers_near=True
        )
        async with client(application(module_database_url, desk=content_preview(settings, given))) as made:
            url = "/v1/templates/setup%2Ffirst-steps/test-send"
            sent = await made.post(url, json={"to": "me@team.example", "profile": {"first_name": "Ada"}})
            refused = await made.post(url, json={"to": "ada@example.com"})
    assert (sent.json()["sent"], sent.json()["subject"]) == (True, "[Test] Ada, your first three steps")
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/to")
    (mail,) = local.provider.accepted.search(provider="resend")
    assert (mail["to"], mail["content"]["headers"]["X-Tenure-Test"]) == ("me@team.example", "1")
    assert "List-Unsubscribe" not in mail["content"]["headers"]
    assert "tags" not in mail["content"], "its webhooks would match no message"
    assert "https://l/c/" not in mail["content"]["html"]
    assert not list((tmp_path / "mail" / "new").iterdir())


def mails(folder):
    return [
        email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in sorted(folder.iterdir())
    ]


async def test_a_test_send_without_a_relay_is_refused(api):
    refused = await api.post("/v1/templates/setup%2Ffirst-steps/test-send", json={"to": "me@team.example"})
    assert refused.status_code == 422


async def test_templates_are_readable_only_with_the_operator_key(sender):
    assert (await sender.get("/v1/templates")).status_code == 403
    assert WRITE != OPERATE


def test_the_command_line_previews_for_a_real_person(module_database_url):
    with served(application(module_database_url)) as url, ApiClient(url, OPERATE) as api:
        carl = {"userId": "carl", "messageId": "c-3", "traits": {"first_name": "Carl", "locale": "de"}}
        httpx.post(f"{url}/v1/identify", json=carl, auth=(WRITE, "")).raise_for_status()
        shown = api.preview("setup/first-steps", {"user": "carl"})
    assert shown["variant"] == "de"


def test_template_infos_differ_by_the_types_of_variables():
    assert TemplateInfo("x", types={"a": "string"}) != TemplateInfo("x")
