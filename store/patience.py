"""How long a process waits for the database: no statement, lock or connection may take a request's whole time."""

from __future__ import annotations

from typing import Any

from sqlalchemy import event

from store.database import Database


def limit_waiting(database: Database, seconds: float, *, connect_seconds: float = 3.0) -> None:
    """From the next connection on, statements end with an error after `seconds`, as does waiting for a lock."""
    milliseconds = str(int(seconds * 1000))

    def patience(_dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        parameters["timeout"] = connect_seconds
        parameters["server_settings"] = {
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "application_name": "tenure-api",
        }

    event.listen(database.engine.sync_engine, "do_connect", patience)
