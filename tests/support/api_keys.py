"""API keys for tests: one of each kind, and an operator's with each scope, made through the API."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from journeys.access.callers import OPERATOR_SCOPES, ApiKey, Caller, CallerKind, Scope


@dataclass(frozen=True)
class MadeForTests:
    """A key as its holder has it: `secret` to send, `view` as the API showed it once."""

    secret: str
    view: Mapping[str, Any]

    @property
    def caller(self) -> Caller:
        scopes = frozenset(Scope(scope) for scope in self.view["scopes"])
        return Caller(CallerKind(self.view["kind"]), scopes, self.view["source"])

    @property
    def key(self) -> ApiKey:
        return ApiKey(self.view["id"], self.view["name"], self.caller.kind, self.caller.scopes, self.view["source"])


async def make_api_key(api: httpx.AsyncClient, name: str, kind: str, *scopes: str, **more: Any) -> MadeForTests:
    """Make a key with an administrator's client."""
    made = await api.post("/v1/keys", json={"name": name, "kind": kind, "scopes": list(scopes), **more})
    assert made.status_code == 201, made.text
    return MadeForTests(made.json()["secret"], made.json())


async def make_keys_of_all_kinds(api: httpx.AsyncClient) -> dict[str, MadeForTests]:
    """By name: `public`, `secret`, and an operator's key for each scope."""
    keys = {kind: await make_api_key(api, f"{kind}-key", kind) for kind in ("public", "secret")}
    for scope in OPERATOR_SCOPES:
        keys[scope.value] = await make_api_key(api, f"{scope}-key", "operator", scope.value)
    return keys
