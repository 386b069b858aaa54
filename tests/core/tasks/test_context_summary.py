"""Summary of a task's context: one line for each thing that is known, and a stranger's text cannot make more of them."""

from datetime import UTC, datetime
from typing import Any

from journeys.tasks.context_summary import MOST_CHARACTERS, context_lines, described

PARTY = {
    "key": "u_1", "kind": "user", "id": "ada", "name": "Ada Lovelace", "email": "ada@example.com", "phone": None,
    "role": "admin", "title": None, "company": None, "plan": None,
}  # fmt: skip
NOTHING: dict[str, Any] = {"person": None, "account": None, "promised": None, "sent": [], "because": []}
SENT = {"subject": "Your first steps", "template": "setup/first-steps", "channel": "email"}


def test_everything_that_is_known_is_a_line():
    at = datetime(2026, 5, 3, 8, tzinfo=UTC)
    context = {
        "person": PARTY,
        "account": {**PARTY, "id": "acme", "name": None, "email": None, "role": None},
        "promised": {"field": "profile.use_case", "value": "invoices in one day", "from": "sales", "to": "success"},
        "sent": [{**SENT, "sent_at": at}, {**SENT, "subject": None, "sent_at": at.isoformat()}],
        "because": [{"text": "the set-up is late"}],
    }
    assert context_lines(context, "onboarding-call") == (
        "Person: Ada Lovelace, ada, ada@example.com, admin",
        "Account: acme",
        "About: onboarding-call",
        "Promised by sales: invoices in one day",
        "Sent: Your first steps (email, 03 May 2026); setup/first-steps (email, 03 May 2026)",
        "Why: the set-up is late",
    )


def test_what_is_not_known_has_no_line():
    assert context_lines(NOTHING, "") == ()
    promised = {"field": "profile.use_case", "value": None, "from": "sales", "to": "success"}
    assert context_lines({**NOTHING, "promised": promised}, "") == ()


def test_a_name_with_line_breaks_or_without_end_is_one_short_line():
    lines = context_lines({**NOTHING, "person": {**PARTY, "name": "Ada\r\nBcc: eve@example.com\n" + "x" * 1_000}}, "")
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert len(lines[0]) == MOST_CHARACTERS


def test_a_person_without_a_name_is_their_id_or_key():
    assert described({**PARTY, "name": None, "email": None, "role": None}) == "ada"
    assert described({**PARTY, "name": None, "id": None, "email": None, "role": None}) == "u_1"
