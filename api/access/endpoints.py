"""Endpoints of API keys: make, list, rotate, revoke."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

from fastapi import Path
from starlette.responses import Response

from api.access.schemas import IssuedKeyView, KeyIn, KeyView, RotationIn
from api.http.auth import KeyRegistry, RequestKey, forbidden
from api.http.pagination import Cursor, Limit, Page, decode, json_response, page_of
from api.http.problems import ProblemError
from api.http.routes import Routes
from journeys.access.callers import ApiKey, CallerKind, Scope
from journeys.access.rules import MadeKey, refusal_of
from journeys.access.user_hash import identity_secret
from store.access import keys
from store.database import Database

TAG = "API keys"
KeyId = Annotated[str, Path(pattern=r"^k_[0-9a-f]{16}$", description="Id of a key.")]
NO_KEY = "There is no key in force with this id."


class KeyRoutes:
    """Routes of API keys. `link_key` is the deployment's first key of signed links."""

    def __init__(self, database: Database, registry: KeyRegistry, link_key: str) -> None:
        self._database, self._registry, self._link_key = database, registry, link_key

    def routes(self, routes: Routes) -> None:
        add = partial(routes.add, scope=Scope.ADMIN, tag=TAG)
        add("GET", "/v1/keys", self.listed, summary="List API keys", gives=Page[KeyView])
        add(
            "POST",
            "/v1/keys",
            self.make,
            summary="Make an API key",
            gives=IssuedKeyView,
            status=201,
            refuses=("conflict",),
        )
        add(
            "POST",
            "/v1/keys/{id}/rotate",
            self.rotate,
            summary="Replace the secret of an API key",
            gives=IssuedKeyView,
            refuses=("not-found",),
        )
        add(
            "POST",
            "/v1/keys/{id}/revoke",
            self.revoke,
            summary="Revoke an API key",
            gives=KeyView,
            refuses=("not-found",),
        )

    async def listed(self, limit: Limit = 50, cursor: Cursor = None) -> Response:
        """Newest first, revoked ones too. The keys given by settings are not listed."""
        position = decode(cursor, datetime, str)
        async with self._database.reading() as connection:
            rows = await keys.list_keys(connection, (position[0], position[1]) if position else None, limit + 1)
        return page_of(rows, limit, lambda row: (row["made_at"], row["id"]))

    async def make(self, key: KeyIn, caller: RequestKey) -> Response:
        """Make a key. Its secret is in this answer only: the store keeps a digest of it."""
        source = key.source or key.name
        scopes = frozenset(Scope(scope) for scope in key.scopes)
        _must_be_allowed(caller, scopes)
        try:
            async with self._database.transaction() as connection:
                issued = await keys.make_key(
                    connection,
                    name=key.name,
                    kind=CallerKind(key.kind),
                    scopes=scopes,
                    source=source,
                    by=caller.name,
                )
        except keys.NameTaken as error:
            raise ProblemError("conflict", f"A key named {key.name} is in force. Choose another name.") from error
        except keys.SourceTaken as error:
            raise ProblemError(
                "conflict", f"The source {source} has a key of another kind: a public key needs a source of its own."
            ) from error
        except keys.TooManyKeys as error:
            raise ProblemError(
                "conflict", f"{keys.MOST_KEYS} keys are in force. Revoke those that nobody uses."
            ) from error
        return self._issued(issued, 201)

    async def rotate(self, id: KeyId, rotation: RotationIn, caller: RequestKey) -> Response:
        """Replace the secret. The old one is valid for the overlap, and with it the hashes of user ids made with it."""
        overlap = timedelta(hours=rotation.overlap_hours)
        async with self._database.transaction() as connection:
            row = await keys.get_key(connection, id)
            _must_be_allowed(caller, frozenset(Scope(scope) for scope in row["scopes"]) if row else frozenset())
            issued = await keys.rotate_key(connection, id, overlap=overlap, by=caller.name)
        if issued is None:
            raise ProblemError("not-found", NO_KEY)
        return self._issued(issued, 200)

    async def revoke(self, id: KeyId, caller: RequestKey) -> Response:
        """End a key at once; other processes of the API take up to two seconds. A second time changes nothing."""
        async with self._database.transaction() as connection:
            row = await keys.revoke_key(connection, id, by=caller.name)
        self._registry.forget()
        if row is None:
            raise ProblemError("not-found", "There is no key with this id.")
        return json_response(row)

    def _issued(self, issued: keys.IssuedKey, status: int) -> Response:
        self._registry.forget()
        row: dict[str, Any] = {**issued.row, "secret": issued.secret, "identity_secret": None}
        if row["kind"] == CallerKind.PUBLIC:
            row["identity_secret"] = identity_secret(self._link_key, row["id"], row["generation"])
        return json_response(row, status, {"Cache-Control": "no-store"})


def _must_be_allowed(caller: ApiKey, scopes: frozenset[Scope]) -> None:
    """Raise ProblemError for scopes that the caller lacks: the new secret would give them to the caller."""
    reason = refusal_of(caller.caller, MadeKey(scopes))
    if reason is not None:
        raise forbidden(reason)
