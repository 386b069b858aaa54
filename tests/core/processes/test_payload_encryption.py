"""Encryption of Temporal's payloads: keys by id, rotation, clear payloads, and failures."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest
from temporalio.api.common.v1 import Payload
from temporalio.api.failure.v1 import Failure
from temporalio.converter import DataConverter, PayloadCodec

from worker import payload_encryption
from worker.composition.clients import payload_codec
from worker.payload_encryption import ENCODING, KEY_ID, Encryption, PayloadNotDecrypted
from worker.payload_keys import DEV_PAYLOAD_KEY, FILE, read_payload_keys, with_embedded_key
from worker.settings import Settings
from worker.temporal import DECRYPTED, MIN_BYTES, EncryptedCompression, data_converter

OLD, NEW = f"2026-05={'o' * 32}", f"2026-11={'n' * 32}"
CANARY = "the canary sings a secret song"


def codec(*entries: str) -> EncryptedCompression:
    return EncryptedCompression(read_payload_keys(entries))


def encoded(by: PayloadCodec, *values: object) -> list[Payload]:
    return asyncio.run(data_converter(by).encode(values))


def decoded(by: PayloadCodec, payloads: list[Payload]) -> list[object]:
    return asyncio.run(data_converter(by).decode(payloads))


@pytest.mark.parametrize("length", [1, MIN_BYTES // len(CANARY) + 1], ids=["short", "compressed"])
def test_an_encrypted_payload_has_the_id_of_its_key_and_nothing_of_its_value(length):
    value = {"subject": CANARY * length}
    (payload,) = encoded(codec(NEW), value)
    assert payload.metadata == {"encoding": ENCODING, KEY_ID: b"2026-11"}
    assert CANARY.encode() not in payload.SerializeToString()
    assert b"subject" not in payload.SerializeToString()
    assert decoded(codec(NEW), [payload]) == [value]


def test_large_payloads_are_compressed_before_they_are_encrypted():
    (payload,) = encoded(codec(NEW), {"subject": CANARY * 1_000})
    assert len(payload.data) < MIN_BYTES


def test_the_same_value_is_never_encrypted_to_the_same_bytes():
    by = codec(NEW)
    assert encoded(by, CANARY) != encoded(by, CANARY)


def test_after_a_rotation_the_new_key_encrypts_and_the_old_one_still_decrypts():
    before = encoded(codec(OLD), CANARY)
    rotated = codec(NEW, OLD)
    assert decoded(rotated, before) == [CANARY]
    after = encoded(rotated, CANARY)
    assert after[0].metadata[KEY_ID] == b"2026-11"
    with pytest.raises(PayloadNotDecrypted, match="'2026-11', which TENURE_PAYLOAD_KEYS lacks"):
        decoded(codec(OLD), after)


def test_clear_payloads_of_the_command_line_and_of_old_histories_are_read():
    clear = asyncio.run(DataConverter.default.encode([{"subject": CANARY}]))
    compressed = asyncio.run(DECRYPTED.encode([{"subject": CANARY * 1_000}]))
    assert clear[0].metadata["encoding"] == b"json/plain"
    assert compressed[0].metadata["encoding"] == b"binary/zlib"
    assert decoded(codec(NEW), [*clear, *compressed]) == [{"subject": CANARY}, {"subject": CANARY * 1_000}]


@pytest.mark.parametrize("changed", ["data", "key id", "length"])
def test_a_changed_payload_is_refused(changed):
    by = codec(NEW, OLD)
    (payload,) = encoded(by, CANARY)
    if changed == "data":
        payload.data = payload.data[:-1] + bytes([payload.data[-1] ^ 1])
    elif changed == "length":
        payload.data = payload.data[:20]
    else:
        payload.metadata[KEY_ID] = b"2026-05"
    with pytest.raises(PayloadNotDecrypted, match="does not decrypt"):
        decoded(by, [payload])


def test_the_message_and_stack_of_a_failure_are_encrypted_and_read_again():
    converter = data_converter(codec(NEW))
    failure = Failure()
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        asyncio.run(converter.encode_failure(error, failure))
    assert CANARY.encode() not in failure.SerializeToString()
    assert "test_payload_encryption" not in str(failure)
    assert CANARY in str(asyncio.run(converter.decode_failure(failure)))


def test_keys_of_aes_are_renewed_before_their_nonces_may_collide(monkeypatch):
    monkeypatch.setattr(payload_encryption, "PER_SALT", 3)
    by = Encryption(read_payload_keys([NEW]))
    payloads = [encoded(by, number)[0] for number in range(7)]
    assert len({payload.data[:16] for payload in payloads}) == 3
    assert decoded(Encryption(read_payload_keys([NEW])), payloads) == list(range(7))


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([], "has no key"),
        (["x" * 40], "ids and secrets"),
        (["A=" + "x" * 40], "ids and secrets"),
        (["a=short"], "32 characters"),
        ([NEW, NEW], "two keys with the id 2026-11"),
    ],
    ids=["none", "no-id", "capital-id", "short", "twice"],
)
def test_keys_that_cannot_be_used_are_refused_without_their_secrets(entries, words):
    with pytest.raises(ValueError, match=words) as refused:
        read_payload_keys(entries)
    assert "xxxx" not in str(refused.value)


def test_the_embedded_stack_makes_one_private_key_that_encrypts_before_the_development_key(tmp_path: Path):
    first = with_embedded_key(tmp_path, DEV_PAYLOAD_KEY)
    assert with_embedded_key(tmp_path, DEV_PAYLOAD_KEY) == first
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    own, public = read_payload_keys(first.split(","))
    assert own.id.startswith("embedded-")
    assert len(own.secret) == 64
    assert public.id == "development"
    assert own.secret not in repr(own)
    (payload,) = encoded(payload_codec(Settings(payload_keys=first)), CANARY)
    assert payload.metadata[KEY_ID] == own.id.encode()


def test_an_interrupted_start_leaves_no_empty_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", lambda *_args: (_ for _ in ()).throw(OSError("No space left on device")))
        with pytest.raises(OSError, match="No space"):
            with_embedded_key(tmp_path, DEV_PAYLOAD_KEY)
    own, _ = read_payload_keys(with_embedded_key(tmp_path, DEV_PAYLOAD_KEY).split(","))
    assert own.id.startswith("embedded-")
