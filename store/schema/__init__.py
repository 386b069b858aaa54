"""Tables of PostgreSQL as SQLAlchemy Core, one module per concept.

    access       api_keys, claimed_fields, quotas          store/access/charge_quotas.sql
    people       subjects, identities, members, declared_fields, clocks
    definitions  definitions, journeys, catalogue, catalogue_versions, catalogue_files
    events       events, message_ids, quarantine, dead_letters, tickets
    retention    retention
    outbox       outbox, lanes, parked
    runs         runs, timeline, sweeps
    messages     messages, stops, sender_refusals, holds         store/messages/gate_read.sql
    consent      consents, consent_log, consent_requests, address_consents,
                 suppressions, soft_bounces, inbound_texts     store/consent/{consent_log,address_lock}.sql
    tasks        tasks, task_asks, task_log, task_mirrors, turns, conversations
    inbox        inbox, checklist_items, awaited_signals, clicks
    exports      audiences, audience_syncs, feed, feed_push    store/exports/feed.sql

A change here needs a migration (`store/migrations`); a test compares both. Tables have no rows of their own but the one of
`catalogue` and of `feed_push`, and the three of `retention`.
"""

from store.schema.access import api_keys, claimed_fields, quotas
from store.schema.base import metadata
from store.schema.consent import (
    address_consents,
    consent_log,
    consent_requests,
    consents,
    inbound_texts,
    soft_bounces,
    suppressions,
)
from store.schema.definitions import catalogue, catalogue_files, catalogue_versions, definitions, journeys
from store.schema.events import dead_letters, events, message_ids, quarantine, tickets
from store.schema.exports import audience_syncs, audiences, feed, feed_push
from store.schema.inbox import awaited_signals, checklist_items, clicks, inbox
from store.schema.messages import holds, messages, sender_refusals, stops
from store.schema.outbox import lanes, outbox, parked
from store.schema.people import clocks, declared_fields, identities, members, subjects
from store.schema.retention import retention
from store.schema.runs import runs, sweeps, timeline
from store.schema.tasks import conversations, task_asks, task_log, task_mirrors, tasks, turns

__all__ = [
    "address_consents", "api_keys", "audience_syncs", "audiences", "awaited_signals", "catalogue", "catalogue_files", "catalogue_versions", "checklist_items", "claimed_fields", "clicks", "clocks", "consent_log",
    "consent_requests", "consents", "conversations", "dead_letters", "declared_fields", "definitions", "events", "feed", "feed_push", "holds",
    "identities", "inbound_texts", "inbox", "journeys", "lanes", "members", "message_ids", "messages", "metadata", "outbox", "parked", "quarantine", "quotas", "retention",
    "runs", "sender_refusals", "soft_bounces", "stops", "subjects", "suppressions", "sweeps", "task_asks", "task_log", "task_mirrors", "tasks",
    "tickets", "timeline", "turns",
]  # fmt: skip
