"""The inbox: a message is a row under our key."""

from __future__ import annotations

import json

import pytest

from activities.channels.in_app import InAppChannel
from activities.ports import Delivered, Outgoing, Promise, TemplateFault
from activities.templates import load_templates

TEMPLATE = """---
owner: team
topic: onboarding
stage: setup
action: {label: Go on, url: "https://app.example/"}
review_date: 2026-12-31
status: live
channels: [in_app]
subject: "Hi {{ profile.name }}"
variables: {error: {type: string, default: none}}
---
See {{ error }}, or [stop]({{ unsubscribe_url }}).
"""


@pytest.fixture
def templates(tmp_path):
    (tmp_path / "it.md").write_text(TEMPLATE, "utf-8")
    return load_templates(tmp_path)


def outgoing(**given) -> Outgoing:
    return Outgoing(
        **(
            {"key": "k", "template": "it", "address": "sk_1", "profile": {"name": "Ada"}, "account": {}, "data": {}}
            | given
        )
    )


async def test_a_message_is_written_under_our_key_for_the_subject(templates):
    rows = {}

    async def put(key, subject_key, message):
        rows[key] = (subject_key, message)

    channel = InAppChannel(templates, put)
    prepared = channel.prepare(outgoing(address=channel.address({}, "sk_1"), data={"error": "<b>E</b>"}))
    for _ in range(2):
        assert (await channel.deliver(prepared, "k")).result is Delivered.SENT
    assert rows == {
        "k": (
            "sk_1",
            {
                "kind": "message",
                "title": "Hi Ada",
                "body_html": "<p>See &lt;b&gt;E&lt;/b&gt;, or stop.</p>",
                "body_text": "See <b>E</b>, or stop.",
                "action": {"label": "Go on", "url": "https://app.example/"},
            },
        )
    }
    assert json.loads(prepared.body) == rows["k"][1]


async def test_a_store_that_fails_is_tried_again_whatever_it_raises_because_it_takes_our_key(templates):
    async def put(key, subject_key, message):
        raise ConnectionResetError("ada@example.com")

    channel = InAppChannel(templates, put)
    receipt = await channel.deliver(channel.prepare(outgoing()), "k")
    assert receipt.result is Delivered.TRY_AGAIN
    assert "ada" not in receipt.detail
    assert channel.promise is Promise.KEYED
    assert channel.local


async def test_a_message_that_cannot_be_made_is_a_template_fault(templates):
    with pytest.raises(TemplateFault, match=r"profile\.name"):
        InAppChannel(templates, None).prepare(outgoing(profile={}))
