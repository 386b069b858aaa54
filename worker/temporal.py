"""Data converter of every Temporal client: pydantic JSON, compressed with zlib from 2 KB."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload
from temporalio.contrib.pydantic import PydanticPayloadConverter
from temporalio.converter import (
    CompositePayloadConverter,
    DataConverter,
    DefaultFailureConverterWithEncodedAttributes,
    PayloadCodec,
)

ENCODING = b"binary/zlib"
WORTH_IT = 2048
"""Bytes from which compressing pays; a step's signal is mostly shorter."""
LARGEST = 8 * 1024 * 1024
"""Bytes a payload may unfold to: no history of ours comes near, a bomb would."""


class Compression(PayloadCodec):
    """zlib over whole payloads that are long enough; others pass as they are."""

    async def encode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._shrunk(payload) for payload in payloads]

    async def decode(self, payloads: Sequence[Payload]) -> list[Payload]:
        return [self._whole(payload) for payload in payloads]

    def _shrunk(self, payload: Payload) -> Payload:
        if len(payload.data) < WORTH_IT:
            return payload
        packed = zlib.compress(payload.SerializeToString(), 6)
        return Payload(metadata={"encoding": ENCODING}, data=packed) if len(packed) < len(payload.data) else payload

    def _whole(self, payload: Payload) -> Payload:
        if payload.metadata.get("encoding") != ENCODING:
            return payload
        unpacker = zlib.decompressobj()
        data = unpacker.decompress(payload.data, LARGEST)
        if unpacker.unconsumed_tail:
            raise ValueError(f"a payload unfolds to more than {LARGEST} bytes")
        return Payload.FromString(data)


_ONCE = PydanticPayloadConverter()


class Converter(CompositePayloadConverter):
    """Pydantic's, one for the process: the SDK makes a converter for each run, which would compile every type anew."""

    def __init__(self) -> None:
        super().__init__(*_ONCE.converters.values())


CONVERTER = DataConverter(
    payload_converter_class=Converter,
    payload_codec=Compression(),
    failure_converter_class=DefaultFailureConverterWithEncodedAttributes,
)
