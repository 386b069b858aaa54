"""The sentence about held events, and the ids in what a sender wrote."""

from __future__ import annotations

import pytest

from journeys.events.held_events import HeldEvents, held_sentence, named_in

UNPLANNED = HeldEvents("Button Clicked", 2, "'Button Clicked' is not in the tracking plan")
MALFORMED = HeldEvents("Order Completed", 1, "total must be a number")


@pytest.mark.parametrize(
    ("groups", "count", "sentence"),
    [
        ([], 0, ""),
        ([UNPLANNED], 2, "2 events of theirs are held: Button Clicked (not in the tracking plan)"),
        ([MALFORMED], 1, "1 event of theirs is held: Order Completed (total must be a number)"),
        (
            [UNPLANNED, MALFORMED],
            7,
            (
                "7 events of theirs are held: 2 × Button Clicked (not in the tracking plan), "
                "Order Completed (total must be a number), 4 others"
            ),
        ),
        ([HeldEvents("", 1, "must be an object")], 1, "1 event of theirs is held: without a name (must be an object)"),
    ],
)
def test_the_sentence_counts_names_and_gives_the_reason(groups, count, sentence):
    assert held_sentence(groups, count) == sentence


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        ({"userId": " ada ", "anonymousId": 7, "groupId": "acme"}, ["account:acme", "user:7", "user:ada"]),
        ({"previousId": "ada", "userId": "ada"}, ["user:ada"]),
        ({"user": "ada", "account": None, "context": {"groupId": "acme"}}, ["account:acme", "user:ada"]),
        ({"userId": True, "anonymousId": ["x"], "groupId": "", "context": []}, []),
        ({"userId": "x" * 256, "anonymousId": "a\x00b"}, []),
        (["userId"], []),
        (None, []),
    ],
)
def test_the_ids_of_a_call_are_read_as_far_as_they_are_ids(raw, named):
    assert named_in(raw) == named
