"""Double opt-in: a pending grant is in force once confirmed by POST.

The link is sent like any other message: a request causes the event `consent_requested`, on which the catalogue's
journey `confirm-consent` sends its transactional mail through the gate, with ledger, retries and an explanation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import orjson

from journeys.consent.bound_addresses import current_addresses
from journeys.consent.changes import CONFIRMED, ConsentChange
from journeys.tokens.signed_links import Link
from store.consent import consents, requests
from store.consent.consents import ConsentChangeResult
from store.database import Connection
from store.definitions.registry import DefinitionRegistry
from store.people import subjects
from store.people.test_clocks import now_from_outside


class NothingToConfirm(Exception):
    """There is nothing to confirm: the grant was refused since, or never requested."""


class AddressChanged(NothingToConfirm):
    """The link went to another address than the person's current one, which needs a confirmation of its own."""


async def confirm_within(
    connection: Connection, catalogue: DefinitionRegistry, link: Link, proof: Mapping[str, str]
) -> ConsentChangeResult:
    """Put a pending grant in force; a second time changes nothing.

    Raises NothingToConfirm, AddressChanged, ClockAdvancing, and Contended: retry the transaction.
    """
    person = await subjects.canonical_key(connection, link.person)
    account = await subjects.account_of(connection, person)
    locked = await subjects.lock_subjects(connection, {person, *((account,) if account else ())})
    request = await requests.lock_request(connection, link.ref, [link.person, person])
    if request is None or request["refused_at"] or (request["channel"], request["topic"]) != (link.channel, link.topic):
        raise NothingToConfirm
    policy, addresses = catalogue.consent.policy, catalogue.consent.addresses
    profile = await subjects.profile_of(connection, person)
    if request["address"] not in current_addresses(addresses, profile):
        raise AddressChanged
    if request["confirmed_at"] is not None:
        (result,) = await consents.change_consents_within(connection, catalogue, policy, {person: []}, outside=True)
        return result
    await requests.mark_confirmed(connection, request["id"], await now_from_outside(connection, locked[person].clock))
    proven = {**orjson.loads(request["proof"]), **{f"confirmed_{name}": value for name, value in proof.items()}}
    change = ConsentChange(
        link.channel,
        link.topic,
        granted=True,
        source=request["source"],
        wording=request["wording"],
        proof={**proven, "request": link.ref},
        confirmed=True,
    )
    (result,) = await consents.change_consents_within(connection, catalogue, policy, {person: [change]}, outside=True)
    confirmed = requests.consent_event(CONFIRMED, person, link.channel, link.topic, link.ref)
    return replace(result, events=(*result.events, confirmed))
