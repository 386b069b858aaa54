"""Free ports on the loopback interface, and whether a port is taken or answers."""

from __future__ import annotations

import contextlib
import os
import random
import socket
from typing import Final

LOOPBACK = "127.0.0.1"
CANDIDATES = range(15_000, 32_000)
"""Below the ephemeral ports of Linux (from 32,768) and other systems (from 49,152)."""
OF_A_PROCESS: Final = 500
"""Candidates that a process tries first. Processes that start together rarely try the same."""
_given: set[int] = set()
"""Ports that this process has given already: they may be free until what they are for has started."""


def free_ports(count: int) -> list[int]:
    """That many different ports that are free now. Another process may still take one before it is used.

    Ephemeral ports are avoided: any outgoing connection could take one in between.
    """
    with contextlib.ExitStack() as held:
        ports: list[int] = []
        for port in _candidates():
            if len(ports) == count:
                break
            if port in _given:
                continue
            candidate = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind((LOOPBACK, port))
                ports.append(port)
        _given.update(ports)
        return ports


def _candidates() -> list[int]:
    start = os.getpid() * OF_A_PROCESS % len(CANDIDATES)
    first, others = CANDIDATES[start : start + OF_A_PROCESS], (*CANDIDATES[:start], *CANDIDATES[start + OF_A_PROCESS :])
    return [*random.sample(first, len(first)), *random.sample(others, len(others))]


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
