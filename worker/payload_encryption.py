"""Encryption of Temporal's payloads: AES-256-GCM with keys of the deployment.

A payload names its key by id. Payloads that are not encrypted are read as they are: signals of Temporal's command line, and
histories from before encryption.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from worker.payload_keys import PayloadKey

ENCODING: Final = b"binary/encrypted"
KEY_ID: Final = "encryption-key-id"
"""Both as in Temporal's own examples of encryption."""
_CONTEXT: Final = b"tenure.payload.1"
_SALT_BYTES: Final = 16
_NONCE_BYTES: Final = 12
PER_SALT: Final = 2**24
"""Payloads for one derived key. Random nonces of one key may be used 2**32 times (NIST SP 800-38D, 8.3)."""
DERIVED_KEYS: Final = 4_096
"""Derived keys in memory. Each process that writes has its own salt."""


class PayloadNotDecrypted(ValueError):
    """A payload cannot be decrypted. The operator's turn: its key is missing, or another one has its id."""


class Encryption(PayloadCodec):
    """Encrypts with the first key, decrypts with each.

    The key of AES is derived from the secret with a random salt (HKDF, RFC 5869), which is renewed before nonces may
    collide. The data is salt, nonce, ciphertext.
    """

    def __init__(self, keys: Sequence[PayloadKey]) -> None:
        self._key = keys[0]
        self._secrets = {key.id: key.secret.encode() for key in keys}
        self._derived = lru_cache(DERIVED_KEYS)(self._derive)
        self._salt, self._encrypted = os.urandom(_SALT_BYTES), 0

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._encrypt(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Raises PayloadNotDecrypted."""
        return [self._decrypt(payload) for payload in payloads]

    def _encrypt(self, payload: Payload) -> Payload:
        if self._encrypted == PER_SALT:
            self._salt, self._encrypted = os.urandom(_SALT_BYTES), 0
        self._encrypted += 1
        nonce, identity = os.urandom(_NONCE_BYTES), self._key.id.encode()
        cipher = self._derived(self._key.id, self._salt)
        sealed = cipher.encrypt(nonce, payload.SerializeToString(), _CONTEXT + identity)
        return Payload(metadata={"encoding": ENCODING, KEY_ID: identity}, data=self._salt + nonce + sealed)

    def _decrypt(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        identity = payload.metadata.get(KEY_ID, b"")
        name = identity.decode(errors="replace")[:64]
        if name not in self._secrets:
            raise PayloadNotDecrypted(f"a payload is encrypted with the key {name!r}, which TENURE_PAYLOAD_KEYS lacks")
        salt, rest = payload.data[:_SALT_BYTES], payload.data[_SALT_BYTES:]
        nonce, sealed = rest[:_NONCE_BYTES], rest[_NONCE_BYTES:]
        try:
            opened = self._derived(name, salt).decrypt(nonce, sealed, _CONTEXT + identity)
        except (InvalidTag, ValueError):
            raise PayloadNotDecrypted(
                f"the key {name!r} does not decrypt a payload that names it: TENURE_PAYLOAD_KEYS has another secret "
                "for this id, or the payload was changed"
            ) from None
        return Payload.FromString(opened)

    def _derive(self, identity: str, salt: bytes) -> AESGCM:
        return AESGCM(HKDF(SHA256(), 32, salt, _CONTEXT).derive(self._secrets[identity]))
