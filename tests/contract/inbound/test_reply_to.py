"""From and Reply-To of mails by SMTP and by Resend: the sender's address stays ours, whoever signs."""

from __future__ import annotations

import json
from email import message_from_bytes
from email.utils import getaddresses
from pathlib import Path

import pytest

from activities.channels.email.resend import ResendChannel, ResendSettings
from activities.channels.email.smtp import EmailChannel, EmailSettings
from activities.channels.http.channel import Reach
from activities.channels.message_hash import message_hash
from activities.content.templates import Templates, load_templates
from activities.outgoing.client import HttpClient
from activities.ports import Outgoing
from journeys.tokens.reply_addresses import ReplyAddresses
from tests.core.content.test_variants import BASE, OWNED, TEAM

SENDER = ("Tenure", "hello@tenure.example")
REPLIES = ReplyAddresses("replies@in.example.com", ("k" * 32,))
PERSON = "u_0123456789abcdef"


@pytest.fixture
def templates(tmp_path: Path) -> Templates:
    (tmp_path / "team.yaml").write_text(TEAM)
    (tmp_path / "content.yaml").write_text(OWNED)
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "it.md").write_text(BASE.replace("topic:", "from: owner\ntopic:"))
    (tmp_path / "templates" / "house.md").write_text(BASE)
    return load_templates(tmp_path / "templates")


def by_smtp(templates: Templates, outgoing: Outgoing, replies: ReplyAddresses | None) -> tuple[str, list[str]]:
    channel = EmailChannel(templates, EmailSettings(sender=SENDER, replies=replies))
    mail = message_from_bytes(channel.prepare(outgoing).body)
    return str(mail["From"]), [address for _, address in getaddresses([str(mail.get("Reply-To", ""))]) if address]


def by_resend(templates: Templates, outgoing: Outgoing, replies: ReplyAddresses | None) -> tuple[str, list[str]]:
    settings = ResendSettings("key", SENDER, replies=replies)
    content = json.loads(
        ResendChannel(templates, HttpClient(frozenset()), Reach(near=True), settings).prepare(outgoing).body
    )
    return content["from"], content.get("reply_to", [])


@pytest.mark.parametrize("way", [by_smtp, by_resend])
@pytest.mark.parametrize(
    ("template", "account", "name", "manager"),
    [
        ("it", {"csm": "dana"}, "Dana Smith", ["dana@partner.example"]),
        ("it", {}, "The team", ["team@ours.example"]),
        ("house", {"csm": "dana"}, "Tenure", []),
    ],
)
async def test_a_mail_has_our_address_in_the_signers_name_and_replies_go_to_both(
    templates, way, template, account, name, manager
):
    outgoing = Outgoing("k", template, "ada@example.com", {}, account, {"plan": "pro"}, person=PERSON)
    mark = REPLIES.address(PERSON, message_hash("k"))
    assert way(templates, outgoing, None) == (f'"{name}" <hello@tenure.example>', manager)
    assert way(templates, outgoing, REPLIES) == (f'"{name}" <hello@tenure.example>', [*manager, mark])
