"""Codec endpoint: what Temporal's UI and command line read and write, and who may."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
from google.protobuf import json_format
from structlog.testing import capture_logs
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.converter import DataConverter

from tests.support.api import UI
from worker.composition.clients import payload_codec
from worker.payload_encryption import ENCODING
from worker.payload_keys import read_payload_keys
from worker.setting_values import split_origins
from worker.settings import Settings
from worker.temporal import EncryptedCompression, data_converter

CONVERTER = data_converter(payload_codec(Settings()))
VALUES = [{"subject": "the canary sings"}, {"long": "x" * 5_000}]


def as_json(payloads: list[Payload]) -> dict[str, Any]:
    """Payloads as Temporal's UI sends them."""
    return json_format.MessageToDict(Payloads(payloads=payloads))


def as_payloads(answer: dict[str, Any]) -> list[Payload]:
    return list(json_format.ParseDict(answer, Payloads()).payloads)


async def test_payloads_of_a_worker_are_decoded_and_encoded_payloads_are_read_by_a_worker(api):
    encrypted = await CONVERTER.encode(VALUES)
    with capture_logs() as lines:
        decoded = await api.post("/v1/codec/decode", json=as_json(encrypted), headers={"X-Namespace": "default"})
    assert await DataConverter.default.decode(as_payloads(decoded.json())) == VALUES
    assert decoded.headers["cache-control"] == "no-store"
    assert [(line["by"], line["payloads"]) for line in lines if line["event"] == "payloads.decrypted"] == [
        ("operator", 2)
    ]
    clear = await DataConverter.default.encode(VALUES)
    encoded = as_payloads((await api.post("/v1/codec/encode", json=as_json(clear))).json())
    assert [payload.metadata["encoding"] for payload in encoded] == [ENCODING, ENCODING]
    assert await CONVERTER.decode(encoded) == VALUES


async def test_what_cannot_be_decoded_comes_back_as_it_was_beside_what_can(api):
    foreign = EncryptedCompression(read_payload_keys([f"other={'o' * 32}"]))
    unknown = await data_converter(foreign).encode(["secret"])
    damaged = [
        Payload(metadata={"encoding": b"binary/zlib"}, data=b"no zlib"),
        Payload(metadata={"encoding": ENCODING, "encryption-key-id": b"development"}, data=b"short"),
    ]
    known = await CONVERTER.encode(["known"])
    answer = await api.post("/v1/codec/decode", json=as_json([*unknown, *damaged, *known]))
    decoded = as_payloads(answer.json())
    assert decoded[:3] == [*unknown, *damaged]
    assert await DataConverter.default.decode(decoded[3:]) == ["known"]


@pytest.mark.parametrize("path", ["decode", "encode"])
async def test_only_the_pages_of_the_ui_may_call_it_from_a_browser(api, path):
    for origin, allowed in ((UI, UI), ("https://evil.example", None), (f"{UI}.evil.example", None), ("null", None)):
        headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
        preflight = await api.options(f"/v1/codec/{path}", headers=headers)
        assert preflight.headers.get("access-control-allow-origin") == allowed
        assert ("X-Namespace" in preflight.headers.get("access-control-allow-headers", "")) == (allowed is not None)
        answer = await api.post(f"/v1/codec/{path}", json={"payloads": []}, headers=headers)
        assert answer.headers.get("access-control-allow-origin") == allowed
        assert answer.headers.get("access-control-allow-credentials") == (allowed and "true")
        assert answer.json() == {"payloads": []}


async def test_a_payload_that_is_not_base64_is_refused(api):
    body = {"payloads": [{"data": b64encode(b"x" * 4).decode() + "*"}]}
    assert (await api.post("/v1/codec/decode", json=body)).status_code == 422


def test_origins_are_read_without_spaces_and_final_slashes():
    assert split_origins(f" {UI}/ , http://127.0.0.1:8233") == (UI, "http://127.0.0.1:8233")
