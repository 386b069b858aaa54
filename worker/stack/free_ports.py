"""Free ports on the loopback interface, and whether a port is taken or answers."""

from __future__ import annotations

import contextlib
import random
import socket

LOOPBACK = "127.0.0.1"
CANDIDATES = range(15_000, 32_000)
"""Below the ephemeral ports of Linux (from 32,768) and other systems (from 49,152)."""


def free_ports(count: int) -> list[int]:
    """That many different ports that are free now. Another process may still take one before it is used.

    Ephemeral ports are avoided: any outgoing connection could take one in between.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for port in random.sample(CANDIDATES, len(CANDIDATES)):
            if len(ports) == count:
                break
            candidate = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind((LOOPBACK, port))
                ports.append(port)
        return ports


def is_free(port: int, host: str = LOOPBACK) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind((host, port))
        except OSError:
            return False
    return True


def is_listening(port: int, host: str = LOOPBACK) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=3):
        return True
    return False


def reachable_host(host: str) -> str:
    """The host by which this machine reaches a server that listens on `host`."""
    return LOOPBACK if host in {"0.0.0.0", "::", "localhost"} else host  # noqa: S104 — compared, not bound
