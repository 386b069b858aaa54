"""The table of failure classes is total: every code that an adapter maps is in it, and every other code has a class."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.channels.email.resend import ResendChannel
from activities.channels.http.channel import HttpChannel
from activities.channels.http.reply_tables import (
    BLIND_TAIL,
    KEYED_TAIL,
    ReplyMeaning,
    ReplyRow,
    ReplyTable,
    failure_of_row,
    receipt_for,
)
from activities.channels.push.channel import PushChannel
from activities.channels.slack import SlackChannel
from activities.channels.twilio import TwilioChannel
from activities.channels.webhook import WebhookChannel
from activities.channels.zendesk import ZendeskChannel
from activities.channels.zoom import ZoomChannel
from activities.outgoing.client import HttpReply
from journeys.consent.failure_classes import FAILURES, HTTP, OTHER, SYSTEMS, FailureClass, bounce_properties, class_of
from journeys.consent.mail_failures import failure_of, failure_of_reply

CHANNELS: tuple[type[HttpChannel], ...] = (
    ResendChannel, PushChannel, SlackChannel, TwilioChannel, WebhookChannel, ZendeskChannel, ZoomChannel,
)  # fmt: skip
TABLES: list[tuple[str, ReplyTable]] = [
    *((channel.system, channel.table) for channel in CHANNELS),
    (HTTP, KEYED_TAIL),
    (HTTP, BLIND_TAIL),
]
REFUSING = (ReplyMeaning.PERMANENT, ReplyMeaning.OURS)


def refusing_rows() -> list[tuple[str, ReplyRow]]:
    return [(system, row) for system, table in TABLES for row in table if row.means in REFUSING]


@pytest.mark.parametrize(
    ("system", "row"), refusing_rows(), ids=[f"{s}-{r.status}-{r.code or 'any'}" for s, r in refusing_rows()]
)
def test_every_code_that_an_adapter_maps_to_a_refusal_is_in_the_table(system, row):
    key = row.code or row.status
    assert (system, key) in FAILURES or (not row.code and (HTTP, key) in FAILURES)
    if row.means is ReplyMeaning.OURS:
        assert failure_of_row(row, system) is FailureClass.SENDER_REFUSED


def test_every_adapter_over_http_has_rows_of_its_own():
    assert {channel for channel in HttpChannel.__subclasses__() if channel.__module__.startswith("activities.")} == set(
        CHANNELS
    )
    assert all(channel.system in SYSTEMS - {HTTP} for channel in CHANNELS)


@given(st.sampled_from(sorted(SYSTEMS)) | st.text(max_size=8), st.text(max_size=12))
def test_an_unknown_code_of_any_provider_has_a_class(system, code):
    assert class_of(system, code) in FailureClass


def test_each_system_says_what_its_other_codes_are():
    assert {system for system, code in FAILURES if code == OTHER} == SYSTEMS


@given(st.text(max_size=12), st.text(max_size=40), st.integers(400, 599))
def test_any_status_and_any_words_of_a_mail_server_have_a_class(status, words, code):
    assert failure_of(status, words) in FailureClass
    assert failure_of_reply(code, words) in FailureClass


@given(st.integers(0, 9), st.integers(0, 999), st.text(max_size=20))
def test_a_transient_status_is_never_about_the_address(subject, detail, words):
    assert failure_of(f"4.{subject}.{detail}", words) is not FailureClass.ADDRESS_GONE
    assert failure_of_reply(450, f"4.{subject}.{detail} {words}") is not FailureClass.ADDRESS_GONE


@pytest.mark.parametrize("status", ["5.7.26", "5.7.1", "5.3.4", "5.1.7", "5.1.8", "5.2.3", "5.5.3", "5.6.1", "5.7.999"])
def test_a_refusal_for_policy_reputation_size_or_configuration_is_about_the_sender(status):
    assert failure_of(status) is FailureClass.SENDER_REFUSED


@pytest.mark.parametrize("status", ["5.1.1", "5.1.0", "5.1.10", " 5.1.2", "5.1.6 moved"])
def test_a_status_of_a_nonexistent_address_is_about_the_address(status):
    assert failure_of(status) is FailureClass.ADDRESS_GONE


@pytest.mark.parametrize(
    "status", ["", "4.1.1 unverified", "5.1.9", "5.2.1", "5.2.2 full", "5.10.1", "15.1.1", "5.1.1000", "5.9.9"]
)
def test_other_statuses_are_about_the_mailbox(status):
    assert failure_of(status) is FailureClass.MAILBOX_TROUBLE


@pytest.mark.parametrize(
    ("channel", "status", "code", "failure"),
    [
        (TwilioChannel, 400, "21211", FailureClass.ADDRESS_GONE),
        (TwilioChannel, 400, "21408", FailureClass.SENDER_REFUSED),
        (TwilioChannel, 400, "21610", FailureClass.MAILBOX_TROUBLE),
        (TwilioChannel, 400, "99999", FailureClass.SENDER_REFUSED),
        (TwilioChannel, 503, "", None),
        (ResendChannel, 429, "daily_quota_exceeded", FailureClass.SENDER_REFUSED),
        (ResendChannel, 422, "validation_error", FailureClass.SENDER_REFUSED),
        (ResendChannel, 429, "rate_limit_exceeded", None),
        (ResendChannel, 200, "", None),
        (PushChannel, 404, "UNREGISTERED", FailureClass.ADDRESS_GONE),
        (SlackChannel, 200, "missing_scope", FailureClass.SENDER_REFUSED),
        (ZoomChannel, 404, "3001", FailureClass.MAILBOX_TROUBLE),
    ],
)
def test_the_receipt_of_a_refusal_says_what_it_is_about(channel, status, code, failure):
    receipt = receipt_for(channel.table, HttpReply(status, {}, b"{}"), code, system=channel.system)
    assert receipt.failure is failure


def test_a_bounce_is_hard_soft_or_about_the_sender():
    assert [bounce_properties("5.1.1", failure)["kind"] for failure in FailureClass] == ["hard", "soft", "sender"]
    assert [bounce_properties("", failure)["permanent"] for failure in FailureClass] == [True, False, False]
