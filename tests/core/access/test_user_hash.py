"""The proof of a user id: only the company's server can make it, for one key and one user."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace

import pytest

from journeys.access.callers import ApiKey, CallerKind
from journeys.access.user_hash import hash_in, identity_secret, is_proven, user_hash

KEY = ApiKey("k_1", "website", CallerKind.PUBLIC, source="website", generations=(3, 2))
SECRET = identity_secret("link-key", KEY.id, 3)


def test_the_hash_is_the_hmac_sha256_of_the_user_id():
    assert user_hash(SECRET, "ada") == hmac.new(SECRET.encode(), b"ada", hashlib.sha256).hexdigest()


def test_the_hash_proves_one_user_id_with_one_key():
    given = user_hash(SECRET, "ada")
    assert is_proven(("link-key",), KEY, "ada", given)
    for key, user, text in (
        (KEY, "eve", given),
        (replace(KEY, id="k_2"), "ada", given),
        (KEY, "ada", given[:-1]),
        (KEY, "ada", given.upper()),
        (KEY, "ada", "\ud800"),
        (KEY, "ada", None),
        (KEY, None, given),
    ):
        assert not is_proven(("link-key",), key, user, text)


def test_hashes_of_the_previous_generation_and_of_older_link_keys_count_while_they_are_listed():
    older = user_hash(identity_secret("old-link-key", KEY.id, 2), "ada")
    assert is_proven(("link-key", "old-link-key"), KEY, "ada", older)
    assert not is_proven(("link-key",), KEY, "ada", older)
    assert not is_proven(("old-link-key",), replace(KEY, generations=(3,)), "ada", older)


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ({"userHash": "a"}, "a"),
        ({"context": {"userHash": "b"}}, "b"),
        ({"userHash": "a", "context": {"userHash": "b"}}, "a"),
        ({"context": []}, None),
        ({"userHash": 7}, None),
        (["userHash"], None),
        ({}, None),
    ],
)
def test_the_hash_stands_in_the_call_or_in_its_context(raw, expected):
    assert hash_in(raw) == expected
