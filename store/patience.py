"""How long a process waits for the database: no statement, lock or connection may take a request's whole time."""

from __future__ import annotations

from store.database import Database


def limit_waiting(database: Database, seconds: float, *, connect_seconds: float = 3.0) -> None:
    """From the next connection on, statements end with an error after `seconds`, as does waiting for a lock."""
    milliseconds = str(int(seconds * 1000))
    database.options = {
        "timeout": connect_seconds,
        "server_settings": {
            "statement_timeout": milliseconds,
            "lock_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "application_name": "tenure-api",
        },
    }
