"""Time limits of statements and of transactions that hold locks."""

from __future__ import annotations

from store.database import Database


def limit_statement_time(database: Database, seconds: float, *, connect_seconds: float = 3.0) -> None:
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


def limit_lock_time(database: Database, seconds: float) -> None:
    """From the next connection on, whoever holds a transaction and says nothing for so long is cut off.

    A process that was stopped, or whose machine is gone, would else keep the people it had locked.
    """
    database.options = {
        "server_settings": {
            "idle_in_transaction_session_timeout": str(int(seconds * 1000)),
            "tcp_keepalives_idle": "30",
            "tcp_keepalives_interval": "10",
            "tcp_keepalives_count": "3",
            "application_name": "tenure-worker",
        },
    }
