"""Time limits of statements and of transactions that hold locks."""

from __future__ import annotations

from store.database import Database


def limit_statement_time(database: Database, seconds: float, *, connect_seconds: float = 3.0) -> None:
    """From the next connection on, end statements and waits for locks with an error after `seconds`."""
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
    """From the next connection on, end a session that is idle in a transaction for `seconds`.

    Otherwise a stopped process or a lost machine would keep its locks on people.
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
