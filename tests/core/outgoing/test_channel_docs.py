"""`docs/channels.md` agrees with the code: error tables, settings, channels, vendors and faults."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from activities.channels.email.resend import ResendChannel
from activities.channels.push.channel import PushChannel
from activities.channels.slack import SlackChannel
from activities.channels.twilio import TwilioChannel
from activities.channels.webhook import WebhookChannel
from activities.channels.zendesk import ZendeskChannel
from activities.channels.zoom import ZoomChannel
from activities.exports.audiences.ad_platforms import GooglePlatform, MetaPlatform
from activities.exports.crm.hubspot import HubSpot
from activities.exports.crm.salesforce import Salesforce
from api.http.limits import Limits
from journeys.language.actions import ChannelName
from tests.support import shipped_catalog
from worker.provider_settings import ProviderSettings
from worker.settings import Settings
from worker.stack.providers.faults import FaultKind
from worker.stack.providers.serving import VENDORS

TEXT = (shipped_catalog.DOCS / "channels.md").read_text("utf-8")
TABLES = {
    "`email` by Resend": ResendChannel,
    "`sms`": TwilioChannel,
    "`push`": PushChannel,
    "`chat`": SlackChannel,
    "`webhook`": WebhookChannel,
    "`support`": ZendeskChannel,
    "`webinar`": ZoomChannel,
    "audiences at Google": GooglePlatform,
    "audiences at Meta": MetaPlatform,
    "tasks in HubSpot": HubSpot,
    "tasks in Salesforce": Salesforce,
}


@pytest.mark.parametrize("title", TABLES)
def test_an_error_table_of_the_page_is_the_one_of_the_channel(title):
    (section,) = re.findall(rf"^### {re.escape(title)}\n(.*?)(?=^### |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in section.splitlines()[3:] if line]
    table = TABLES[title].table
    expected = [(row.status, f"`{row.code}`" if row.code else "", row.means.value, row.about) for row in table]
    assert [tuple(row[:4]) for row in rows] == expected


def test_every_setting_named_exists_and_every_key_of_a_provider_is_named():
    known = {f"TENURE_{name.upper()}" for name in (*ProviderSettings.model_fields, *Settings.model_fields)}
    known |= {f"TENURE_API_{name.upper()}" for name in Limits.model_fields}
    named = set(re.findall(r"TENURE_[A-Z_]+", TEXT))
    assert named <= known
    tasks = (shipped_catalog.DOCS / "tasks.md").read_text("utf-8")
    assert set(re.findall(r"TENURE_[A-Z_]+", tasks)) <= known
    shown = {name for name in known if name.endswith(("_KEY_FILE", "_TOKEN", "_WEBHOOK_SECRET", "_ALLOW", "_RATES"))}
    assert shown <= named


def test_the_page_names_every_channel_vendor_and_fault():
    for name in (*get_args(ChannelName), *get_args(FaultKind)):
        assert f"`{name}`" in TEXT
    for vendor in VENDORS:
        assert f"`/{vendor.name}`" in TEXT
