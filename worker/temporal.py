"""Data converter of every Temporal client: pydantic JSON, compressed, then encrypted.

Payloads are compressed with zlib from 2 KB. Failures are encoded too: their messages and stack traces.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import replace

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

from worker.payload_encryption import Encryption
from worker.payload_keys import PayloadKey

ENCODING = b"binary/zlib"
MIN_BYTES = 2048
"""Smaller payloads are not compressed; most signals are smaller."""
MAX_BYTES = 8 * 1024 * 1024
"""Limit of a decompressed payload. No payload of ours comes near it; a compression bomb does."""


class Compression(PayloadCodec):
    """Compresses payloads of MIN_BYTES and more with zlib; others pass unchanged."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._compressed(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._decompressed(payload) for payload in payloads]

    def _compressed(self, payload: Payload) -> Payload:
        if len(payload.data) < MIN_BYTES:
            return payload
        packed = zlib.compress(payload.SerializeToString(), 6)
        return Payload(metadata={"encoding": ENCODING}, data=packed) if len(packed) < len(payload.data) else payload

    def _decompressed(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(payload.data, MAX_BYTES)
        if unpacker.unconsumed_tail:
            raise ValueError(f"a payload decompresses to more than {MAX_BYTES} bytes")
        return Payload.FromString(data)


class EncryptedCompression(PayloadCodec):
    """Compresses, then encrypts with the first key; payloads that are neither are read as they are."""

    def __init__(self, keys: Sequence[PayloadKey]) -> None:
        self._compression, self._encryption = Compression(), Encryption(keys)

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return await self._encryption.encode(await self._compression.encode(payloads))

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        """Raises PayloadNotDecrypted."""
        return await self._compression.decode(await self._encryption.decode(payloads))


_ONCE = PydanticPayloadConverter()


class Converter(CompositePayloadConverter):
    """Shares pydantic's converters in one process. The SDK makes a converter for each run, which would compile every type again."""

    def __init__(self) -> None:
        super().__init__(*_ONCE.converters.values())


DECRYPTED = DataConverter(
    payload_converter_class=Converter,
    payload_codec=Compression(),
    failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
)
"""Converter of decrypted histories: recorded ones and those of a replay."""


def data_converter(codec: PayloadCodec) -> DataConverter:
    """The converter of clients and workers of one deployment."""
    return replace(DECRYPTED, payload_codec=codec)
