"""Addresses of a running stack, written by the supervisor to endpoints.json."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from store.servers import shown_url

FILE = "endpoints.json"


class Endpoints(BaseModel):
    """Addresses and process ids of a stack. `maildir` is the embedded sink's folder, if that is used."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    home: Path
    supervisor: int
    database_url: str
    temporal_address: str
    temporal_namespace: str
    temporal_ui: str | None = None
    smtp_url: str
    maildir: Path | None
    mail_page: str | None = None
    api_url: str
    worker_url: str
    provider_url: str | None = None
    provider_token: str | None = None
    pids: dict[str, int]

    def write(self) -> None:
        """Write the file atomically and readable by its owner only: the database URL may hold a password."""
        target = self.home / FILE
        draft = target.with_suffix(".draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.model_dump_json(indent=2))
        draft.replace(target)

    def rows(self) -> list[tuple[str, str, int | None]]:
        """Rows of a table: component, address, and process id if it is ours. Passwords are masked."""
        mail = f"{self.smtp_url}  →  {self.maildir}" if self.maildir else _without_password(self.smtp_url)
        return [
            ("API", f"{self.api_url}  with its documentation at /docs", self.pids.get("api")),
            ("worker", self.worker_url, self.pids.get("worker")),
            ("Temporal", f"{self.temporal_address}  namespace {self.temporal_namespace}", self.pids.get("temporal")),
            *([("Temporal's UI", self.temporal_ui, self.pids.get("temporal"))] if self.temporal_ui else []),
            *([("Temporal's PostgreSQL", "", store)] if (store := self.pids.get("temporal-postgres")) else []),
            ("PostgreSQL", shown_url(self.database_url), self.pids.get("postgres")),
            ("mail", mail, self.pids.get("mail")),
            *([("caught mails", self.mail_page, self.pids.get("mail"))] if self.mail_page else []),
            *([("provider", self._record(), self.pids.get("provider"))] if self.provider_url else []),
            ("logs", str(self.home / "logs"), self.supervisor),
        ]

    def _record(self) -> str:
        """Address of what the local provider has accepted; the token is the reader's key."""
        return f"{self.provider_url}/_accepted?token={self.provider_token}"


def read_endpoints(home: Path) -> Endpoints | None:
    """The endpoints last written under `home`, or None. They may be those of a stack that has died."""
    try:
        return Endpoints.model_validate(json.loads((home / FILE).read_text()))
    except (FileNotFoundError, ValueError):
        return None


def _without_password(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
