"""Ids that look like others: refused with a reason, and ids of all languages are not."""

from __future__ import annotations

import pytest

from journeys.events.id_rule import id_faults
from journeys.events.inbound import InboundEvent

LOOKALIKES = {
    "a zero-width space": ("ad\u200ba", "userId contains U+200B, which cannot be seen"),
    "a joiner at the end": ("ada\u200d", "userId contains U+200D, which cannot be seen"),
    "a right-to-left mark": ("\u202eada", "userId contains U+202E, which cannot be seen"),
    "a soft hyphen": ("a\u00adda", "userId contains U+00AD, which cannot be seen"),
    "a Hangul filler": ("ada\u3164", "userId contains U+3164, which cannot be seen"),
    "a variation selector": ("ada\ufe0f", "userId contains U+FE0F, which cannot be seen"),
    "an empty Braille pattern": ("ada\u2800", "userId contains U+2800, which cannot be seen"),
    "a line break": ("ada\n", "userId contains U+000A, which cannot be seen"),
    "a blank at the end": ("ada ", "userId begins or ends with a blank"),
    "a no-break space": ("ada\u00a0l", "userId is not in Unicode's normal form NFKC: another spelling looks the same"),
    "full width": ("\uff41da", "userId is not in Unicode's normal form NFKC: another spelling looks the same"),
    "a ligature": ("\ufb01x", "userId is not in Unicode's normal form NFKC: another spelling looks the same"),
    "decomposed": ("e\u0301", "userId is not in Unicode's normal form NFKC: another spelling looks the same"),
    "Cyrillic a": ("\u0430da", "userId mixes letters that look alike: Cyrillic and Latin"),
    "Greek o": ("b\u03bfb", "userId mixes letters that look alike: Greek and Latin"),
}


@pytest.mark.parametrize(("value", "fault"), LOOKALIKES.values(), ids=LOOKALIKES)
def test_an_id_that_looks_like_another_has_a_fault(value, fault):
    assert id_faults(InboundEvent("track", "m", "x", user_id=value)) == (fault,)


def test_every_id_of_an_event_is_looked_at():
    bad = "a\u200b"
    event = InboundEvent("alias", "m", "x", user_id=bad, anonymous_id=bad, account_id=bad, previous_id=bad)
    assert [fault.split()[0] for fault in id_faults(event)] == ["userId", "anonymousId", "groupId", "previousId"]


@pytest.mark.parametrize(
    "value",
    ["ada", "4711", "ada@example.com", "Ada Lovelace", "auth0|5f7c8ec7c33c6c004bbafe82", "Größe", "Ада", "\u03b1\u03b2",
     "日本語", "ada-日本", "محمد", "a", "{}", "👩", "\u0e01\u0e33"[:1]],
)  # fmt: skip
def test_other_ids_have_none(value):
    assert id_faults(InboundEvent("track", "m", "x", user_id=value, anonymous_id=value)) == ()
