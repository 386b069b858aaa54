"""The in-app channel: content of an inbox message, and its promise of delivery."""

from __future__ import annotations

import json

import pytest

from activities.channels.in_app import InAppChannel
from activities.content.templates import load_templates
from activities.ports import Outgoing, Promise, TemplateFault

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


def test_a_message_is_json_and_its_html_escapes_markup_in_values(templates):
    channel = InAppChannel(templates)
    prepared = channel.prepare(outgoing(address=channel.address({}, "sk_1"), data={"error": "<b>E</b>"}))
    assert prepared.address == "sk_1"
    assert json.loads(prepared.body) == {
        "kind": "message",
        "title": "Hi Ada",
        "body_html": "<p>See &lt;b&gt;E&lt;/b&gt;, or stop.</p>",
        "body_text": "See <b>E</b>, or stop.",
        "action": {"label": "Go on", "url": "https://app.example/"},
    }


def test_an_inbox_message_is_keyed_and_is_written_in_the_gates_transaction(templates):
    channel = InAppChannel(templates)
    assert channel.inside
    assert channel.promise is Promise.KEYED


async def test_a_message_that_lacks_a_field_raises_a_template_fault(templates):
    with pytest.raises(TemplateFault, match=r"profile\.name"):
        InAppChannel(templates).prepare(outgoing(profile={}))
