"""Ids that name nobody, and ids with blanks: no strangers are joined, and nothing good is lost."""

import httpx
import pytest

from tests.contract.events.test_ingest import event, quarantine_faults, stored
from tests.contract.events.test_odd_calls import notes
from tests.support import shipped_catalog
from tests.support.api import WRITE, application

NOBODY = ["undefined", "null", "NaN", 0, "anonymous", "[object Object]", "   ", "None"]


@pytest.mark.parametrize("given", NOBODY, ids=repr)
async def test_a_placeholder_of_a_user_leaves_the_event_to_its_visitor(sender, db, given):
    visitor, message = f"visitor-of-{given}-x", f"placeholder-{given}"
    taken = await sender.post("/v1/track", json=event(given, message, anonymousId=visitor))
    assert taken.json() == {"success": True}
    assert len(await stored(db, visitor)) == 1
    assert await db.fetchval("SELECT count(*) FROM identities WHERE value = $1", str(given)) == 0
    assert "is a placeholder and names nobody" in (await notes(db, message))[0]


@pytest.mark.parametrize("given", NOBODY, ids=repr)
async def test_an_event_of_a_placeholder_alone_is_held(sender, db, given):
    message = f"placeholder-alone-{given}"
    taken = await sender.post("/v1/track", json=event(given, message))
    assert taken.json()["quarantined"][-1] == "userId is a placeholder and names nobody"
    assert await quarantine_faults(db, message) == taken.json()["quarantined"]


@pytest.mark.parametrize(
    "call",
    [
        {"type": "group", "groupId": "null"},
        {"type": "alias", "previousId": "undefined"},
        {"context": {"groupId": "undefined"}},
    ],
    ids=["group", "alias", "context"],
)
async def test_a_placeholder_names_no_account_and_no_visitor(sender, db, call):
    await sender.post("/v1/batch", json={"batch": [event("member", f"of-{call}", **call)]})
    assert await db.fetchval("SELECT count(*) FROM identities WHERE value IN ('null', 'undefined')") == 0


async def test_a_message_id_that_is_a_placeholder_is_none(sender, db):
    for _ in range(2):
        await sender.post("/v1/track", json=event("unnumbered", "undefined"))
    assert len(await stored(db, "unnumbered")) == 2


@pytest.mark.parametrize("path", ["/v1/users/undefined/signals", "/v1/accounts/null/signals"])
async def test_a_direct_signal_to_a_placeholder_is_held(sender, path):
    taken = await sender.post(path, json={"name": "setup_completed"})
    assert (taken.status_code, len(taken.json()["quarantined"])) == (202, 1)


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("userId", event("undefined", "counted-1", anonymousId="v")),
        ("context.groupId", event("member", "counted-2", context={"groupId": "undefined"})),
    ],
    ids=["user", "account"],
)
async def test_placeholders_are_counted_by_field(app, sender, api, field, call):
    async def counted() -> float:
        text = (await api.get("/metrics")).text
        (line,) = (
            line for line in text.splitlines() if line.startswith(f'tenure_placeholder_ids_total{{field="{field}"}}')
        )
        return float(line.split()[-1])

    before = await counted()
    await sender.post("/v1/track", json=call)
    assert await counted() == before + 1


async def test_a_plan_adds_placeholders(module_database_url, db):
    more = shipped_catalog.plan().model_copy(update={"placeholder_ids": ("walk-in",)})
    transport = httpx.ASGITransport(application(module_database_url, tracking=more))
    async with httpx.AsyncClient(transport=transport, base_url="http://api", auth=(WRITE, "")) as client:
        taken = await client.post("/v1/track", json=event("Walk-In", "walk-in-1"))
    assert taken.json()["quarantined"][-1] == "userId is a placeholder and names nobody"


async def test_ids_are_trimmed(sender, db):
    for message, user in (("trim-1", "trimmed"), ("trim-2", " trimmed"), ("trim-3", "trimmed\n")):
        await sender.post("/v1/track", json=event(user, message))
    assert [message for message, _ in await stored(db, "trimmed")] == ["trim-1", "trim-2", "trim-3"]


async def test_somebody_known_with_blanks_is_listed_and_not_merged(sender, db):
    for message, user in (("blank-1", "blank"), ("blank-2", "Blank")):
        await sender.post("/v1/track", json=event(user, message))
    await db.execute("UPDATE identities SET value = ' blank' WHERE value = 'Blank'")
    single = await sender.post("/v1/track", json=event(" blank", "blank-3"))
    batch = (
        await sender.post("/v1/batch", json={"batch": [event(" blank", "blank-4"), event("blank", "blank-5")]})
    ).json()
    assert "somebody is known by it" in single.json()["quarantined"][0]
    assert (batch["accepted"], batch["quarantined"], batch["errors"][0]["index"]) == (1, 1, 0)
    assert [message for message, _ in await stored(db, "blank")] == ["blank-1", "blank-5"]
    assert [message for message, _ in await stored(db, " blank")] == ["blank-2"]


async def known_with_blanks(sender, db, name):
    """Somebody known as ` NAME`, who can only come from before ids were trimmed."""
    await sender.post("/v1/identify", json={"userId": f"x-{name}", "traits": {"email": f"{name}@example.com"}})
    await db.execute("UPDATE identities SET value = $1 WHERE value = $2", f" {name}", f"x-{name}")


@pytest.mark.parametrize("kind", ["user", "account", "previous"])
async def test_every_id_of_a_call_is_compared_with_its_blanks(sender, db, kind):
    name = f"every-{kind}"
    await known_with_blanks(sender, db, name)
    await db.execute("UPDATE identities SET kind = 'account_id' WHERE $1 = 'account' AND value = $2", kind, f" {name}")
    call = {
        "user": {"type": "track", "event": "setup_completed", "userId": f" {name}"},
        "account": {"type": "track", "event": "setup_completed", "userId": "u", "context": {"groupId": f" {name}"}},
        "previous": {"type": "alias", "userId": "u", "previousId": f" {name}"},
    }[kind]
    answer = (await sender.post("/v1/batch", json={"batch": [call]})).json()
    assert answer["quarantined"] == 1, answer


async def test_a_field_that_a_call_does_not_read_refuses_nothing(sender, db):
    await known_with_blanks(sender, db, "unread")
    await db.execute("UPDATE identities SET kind = 'account_id' WHERE value = ' unread'")
    answer = await sender.post("/v1/track", json=event("u", "unread-1", groupId=" unread"))
    assert "quarantined" not in answer.json()


async def test_a_padded_id_is_refused_again_by_a_replay_and_by_a_signal(api, sender, db):
    await known_with_blanks(sender, db, "again")
    await sender.post("/v1/track", json=event(" again", "again-1"))
    (held,) = (await api.get("/v1/quarantine?status=held&name=setup_completed")).json()["items"][-1:]
    assert (await api.post(f"/v1/quarantine/{held['id']}/replay")).status_code == 409
    signal = await sender.post("/v1/users/%20again/signals", json={"name": "setup_completed", "data": {}})
    assert signal.json()["quarantined"], signal.text


async def test_an_opt_out_in_a_refused_event_counts_for_whom_it_names(sender, db):
    await known_with_blanks(sender, db, "silent")
    call = {"userId": " silent", "traits": {"unsubscribed": True}}
    answer = (await sender.post("/v1/identify", json=call)).json()
    assert "somebody is known by it" in answer["quarantined"][0]
    refused = await db.fetchval(
        "SELECT count(*) FROM consents c JOIN identities i ON i.subject_key = c.subject_key WHERE i.value = ' silent' AND NOT c.granted"
    )
    assert refused == 1
