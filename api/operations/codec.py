"""Codec endpoint: decrypts and encrypts payloads for Temporal's UI and command line.

Temporal's remote codec protocol: `POST …/decode` and `…/encode` with `Payloads` as JSON.
"""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Final

import structlog
from fastapi import Header
from google.protobuf.message import DecodeError
from pydantic import BaseModel, ConfigDict, StringConstraints
from starlette.responses import Response
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadCodec

from api.http.auth import RequestKey
from api.http.pagination import json_response
from api.http.routes import Routes
from journeys.access.callers import Scope

log = structlog.get_logger()

TAG: Final = "Operations"
PATH: Final = "/v1/codec"
_ALLOWED: Final = "Access-Control-Allow-Origin"
Base64 = Annotated[str, StringConstraints(pattern=r"^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$")]
CallingOrigin = Annotated[str | None, Header(include_in_schema=False)]


class PayloadView(BaseModel):
    """A payload of Temporal: bytes in base64."""

    metadata: dict[str, Base64] = {}
    data: Base64 = ""


class PayloadsView(BaseModel):
    """Payloads of Temporal, as its remote codec protocol has them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "InRleHQi"}]}
        }
    )

    payloads: list[PayloadView] = []


class CodecRoutes:
    """Routes of the codec. Browsers may call them from `origins` only, with the key that they know for this address."""

    def __init__(self, codec: PayloadCodec, origins: Sequence[str]) -> None:
        self._codec, self._origins = codec, frozenset(origins)

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, "POST", scope=Scope.OPERATE, tag=TAG, gives=PayloadsView)
        add(f"{PATH}/decode", self.decode, summary="Decrypt payloads for Temporal's UI")
        add(f"{PATH}/encode", self.encode, summary="Encrypt payloads for Temporal's UI")
        preflight = partial(routes.add, "OPTIONS", scope=Scope.ANYONE, tag=TAG, gives=PayloadsView)
        preflight(f"{PATH}/decode", self.may_decode, summary="CORS preflight of decrypting")
        preflight(f"{PATH}/encode", self.may_encode, summary="CORS preflight of encrypting")

    async def decode(self, request: PayloadsView, caller: RequestKey, origin: CallingOrigin = None) -> Response:
        """Clear payloads are returned as they are, and so is one that cannot be decrypted. The access is logged with the name of the key."""
        clear = [await self._decoded(payload) for payload in _payloads(request)]
        log.info("payloads.decrypted", by=caller.name, payloads=len(clear))
        return self._answer(clear, origin)

    async def encode(self, request: PayloadsView, origin: CallingOrigin = None) -> Response:
        """With the newest key. Temporal's UI encrypts so what a person enters there."""
        return self._answer(await self._codec.encode(list(_payloads(request))), origin)

    async def may_decode(self, origin: CallingOrigin = None) -> Response:
        return self._preflight(origin)

    async def may_encode(self, origin: CallingOrigin = None) -> Response:
        return self._preflight(origin)

    async def _decoded(self, payload: Payload) -> Payload:
        try:
            (clear,) = await self._codec.decode([payload])
        except (ValueError, zlib.error, DecodeError):
            return payload
        return clear

    def _answer(self, payloads: Iterable[Payload], origin: str | None) -> Response:
        view = PayloadsView(payloads=[_view(payload) for payload in payloads])
        return json_response(view.model_dump(), headers=self._cors(origin))

    def _preflight(self, origin: str | None) -> Response:
        allowed = self._cors(origin)
        if _ALLOWED in allowed:
            names = "Authorization, Content-Type, X-Namespace"
            allowed |= {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": names}
        return json_response(PayloadsView().model_dump(), headers=allowed)

    def _cors(self, origin: str | None) -> dict[str, str]:
        common = {"Cache-Control": "no-store", "Vary": "Origin"}
        if origin not in self._origins or origin is None:
            return common
        return {**common, _ALLOWED: origin, "Access-Control-Allow-Credentials": "true"}


def _payloads(request: PayloadsView) -> list[Payload]:
    return [
        Payload(metadata={name: b64decode(value) for name, value in given.metadata.items()}, data=b64decode(given.data))
        for given in request.payloads
    ]


def _view(payload: Payload) -> PayloadView:
    metadata = {name: b64encode(value).decode() for name, value in payload.metadata.items()}
    return PayloadView(metadata=metadata, data=b64encode(payload.data).decode())
