"""Digests in mails and the inbox, tracked links, and the layout of mails (C4)."""

from __future__ import annotations

import email
import email.policy
import json
import re
from datetime import UTC, datetime

import pytest

from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.channels.in_app import InAppChannel
from activities.content.templates import load_templates
from activities.content.tracked_links import ClickLinks
from activities.ports import Outgoing, TemplateFault
from tests.support.shipped_catalog import CATALOG

SECRET = "a secret of at least sixteen"
NAME = "digest/together"


@pytest.fixture(scope="module")
def templates():
    return load_templates(CATALOG / "templates")


def member(key: str, template: str, **data) -> Outgoing:
    return Outgoing(key, template, "ada@example.com", {"first_name": "Ada"}, {}, data)


def digest(*items: Outgoing) -> Outgoing:
    return Outgoing("d", NAME, "ada@example.com", {"first_name": "Ada"}, {}, {}, items=items)


TWO = (member("k1", "setup/first-steps"), member("k2", "support/follow-up", ticket_id="T-7"))
URLS = ["https://app.example.com/setup", "https://help.example.com/tickets/T-7/confirm"]


def mail_of(templates, outgoing: Outgoing, **settings):
    channel = EmailChannel(templates, EmailSettings(**settings), clock=lambda: datetime(2026, 5, 3, tzinfo=UTC))
    prepared = channel.prepare(outgoing)
    return prepared, email.message_from_bytes(prepared.body, policy=email.policy.default)


def test_C4_each_message_of_a_digest_keeps_its_own_title_and_action_in_both_parts(templates):
    prepared, mail = mail_of(templates, digest(*TWO), postal="Acme, 1 Road")
    html, text = (mail.get_body((kind,)).get_content() for kind in ("html", "plain"))
    assert mail["Subject"] == "2 updates from us, in one message"
    assert re.findall(r'<a href="([^"]+)" target', html) == URLS
    assert [title in html for title in ("Ada, your first three steps", "Is ticket T-7 really solved?")] == [True, True]
    titles = [text.index(title) for title in ("Ada, your first three steps", "Is ticket T-7 really solved?")]
    urls = [text.index(url) for url in URLS]
    assert titles[0] < urls[0] < titles[1] < urls[1]
    assert prepared.summary["members"] == [
        {"key": "k1", "template": "setup/first-steps", "variant": "base"},
        {"key": "k2", "template": "support/follow-up", "variant": "base"},
    ]
    assert prepared.summary["topics"] == ("onboarding", "support")


def test_C4_a_digest_in_the_inbox_is_a_list_of_items(templates):
    content = json.loads(InAppChannel(templates).prepare(digest(*TWO)).body)
    assert content["kind"] == "digest"
    assert [(item["key"], item["action"]["url"]) for item in content["items"]] == [("k1", URLS[0]), ("k2", URLS[1])]


def test_C4_a_member_that_cannot_be_rendered_fails_the_digest_with_its_name(templates):
    with pytest.raises(TemplateFault, match="support/follow-up: 'ticket_id' is undefined"):
        mail_of(templates, digest(*TWO, member("k3", "support/follow-up")))


def test_C4_a_digest_needs_a_digest_template_and_is_limited_in_number_and_size(templates):
    with pytest.raises(TemplateFault, match="11 messages; 10 at most"):
        templates.render_digest(NAME, [member(f"k{n}", "setup/first-steps") for n in range(11)])
    with pytest.raises(TemplateFault, match="is not a digest template"):
        templates.render_digest("setup/first-steps", TWO)
    long = [member(f"k{n}", "setup/troubleshoot", error="x" * 30_000) for n in range(5)]
    with pytest.raises(TemplateFault, match="over its limits"):
        templates.render_digest(NAME, long)
    with pytest.raises(TemplateFault, match="without messages"):
        templates.render_digest(NAME, [])


def test_a_digest_is_rendered_in_the_persons_language(templates):
    items = tuple(Outgoing(item.key, item.template, item.address, {"locale": "de"}, {}, item.data) for item in TWO)
    rendered = templates.render_digest(NAME, items)
    assert (rendered.subject, rendered.lang) == ("2 Neuigkeiten von uns, in einer Nachricht", "de")


# -- links -------------------------------------------------------------------------------------------------------------


def test_a_tracked_link_contains_a_token_and_the_summary_keeps_its_target(templates):
    links = ClickLinks((SECRET,), "https://l.example/")
    prepared, mail = mail_of(templates, member("k1", "setup/first-steps"), clicks=links)
    html, text = (mail.get_body((kind,)).get_content() for kind in ("html", "plain"))
    assert prepared.summary["links"] == [{"url": URLS[0]}]
    assert URLS[0] not in html + text
    token = re.search(r"https://l\.example/c/([\w-]+)", html)[1]
    assert links.read(token) == ("k1", 0)
    assert token in text


def test_a_link_to_our_own_signed_pages_is_not_tracked(tmp_path):
    text = (CATALOG / "templates/setup/first-steps.md").read_text()
    (tmp_path / "it.md").write_text(text.replace("If a step", "[Choose](https://t.example/p/x). If a step"))
    message = load_templates(tmp_path).render(member("k", "it"))
    _, links = ClickLinks((SECRET,), "https://l.example", "https://t.example").follow(message, "k")
    assert {link.url for link in links} == {URLS[0]}


def test_each_tracked_link_of_a_digest_names_its_message(templates):
    prepared, _ = mail_of(templates, digest(*TWO), clicks=ClickLinks((SECRET,), "https://l.example"))
    assert prepared.summary["links"] == [{"url": URLS[0], "key": "k1"}, {"url": URLS[1], "key": "k2"}]


def test_a_link_token_is_read_only_if_it_is_signed_with_a_known_key():
    ours, theirs = ClickLinks((SECRET,), "https://l.example"), ClickLinks((SECRET + "!",), "https://l.example")
    token = ours.token("journey/x/u_1/-/1#a.1/send:x.1>u_1", 3)
    assert ours.read(token) == ("journey/x/u_1/-/1#a.1/send:x.1>u_1", 3)
    assert ours.token("journey/x/u_1/-/1#a.1/send:x.1>u_1", 3) == token
    assert "journey" not in token
    assert theirs.read(token) is None
    for wrong in ("", "x", token[:-2], "A" + token[1:], token * 30, "ü" * 40, "=" * 8):
        assert ours.read(wrong) is None
    assert ClickLinks(("newer", SECRET), "https://l.example").read(token) == ours.read(token)
    with pytest.raises(ValueError, match="need a key"):
        ClickLinks((), "https://l.example")


def test_a_link_whose_text_is_its_url_is_not_tracked(tmp_path):
    source = (
        (CATALOG / "templates/setup/first-steps.md")
        .read_text()
        .replace(
            "If a step",
            "[https://a.example/x](https://a.example/x) or [here](https://b.example/) or [call](tel:112). If a step",
        )
    )
    (tmp_path / "it.md").write_text(source)
    message = load_templates(tmp_path).render(member("k", "it"))
    _, links = ClickLinks((SECRET,), "https://l.example").follow(message, "k")
    assert {link.url for link in links} == {URLS[0], "https://b.example/"}


# -- the layout of a mail ----------------------------------------------------------------------------------------------


def test_a_mail_over_gmails_size_limit_is_marked_as_clipped(tmp_path):
    source = (CATALOG / "templates/setup/first-steps.md").read_text()
    (tmp_path / "it.md").write_text(source + "{% for i in (1..900) %}" + "word " * 20 + "\n\n{% endfor %}")
    templates = load_templates(tmp_path)
    assert mail_of(templates, member("k", "it"))[0].summary["clipped"] is True
    (tmp_path / "it.md").write_text(source)
    assert "clipped" not in mail_of(load_templates(tmp_path), member("k", "it"))[0].summary


def test_a_mail_loads_no_external_resources(templates):
    _, mail = mail_of(templates, digest(*TWO))
    html = mail.get_body(("html",)).get_content()
    assert not re.findall(r"<(?:img|link|script|iframe)|@import|url\(", html)
    assert 'lang="en"' in html


def test_a_mail_from_the_owner_keeps_the_from_address_and_sets_reply_to(templates):
    account = {"name": "Acme", "owner_name": "Dana Smith", "owner_email": "dana@example.com"}
    data = {"renewal_date": "2026-09-01T00:00:00Z"}
    outgoing = Outgoing("k", "renewal/plan-together", "ada@example.com", {}, account, data)
    _, mail = mail_of(templates, outgoing)
    assert (mail["From"], mail["Reply-To"]) == ("Dana Smith <hello@tenure.example>", "dana@example.com")
    _, unknown = mail_of(templates, Outgoing("k", "renewal/plan-together", "ada@example.com", {}, {}, data))
    assert (unknown["From"], unknown["Reply-To"]) == (
        "The customer success team <hello@tenure.example>",
        "success@example.com",
    )
