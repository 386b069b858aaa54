"""Free ports of the loopback, and whether somebody listens on one."""

from __future__ import annotations

import contextlib
import random
import socket

LOOPBACK = "127.0.0.1"
OURS = range(15_000, 32_000)
"""Below what Linux (from 32,768) and the others (from 49,152) give away by themselves."""


def free_ports(count: int) -> list[int]:
    """Different free ports, all held while the others are looked for. Another process may still take one first.

    Not those the kernel gives away for connections going out: any of these could take one between our look and our use.
    """
    with contextlib.ExitStack() as held:
        found: list[int] = []
        for port in random.sample(OURS, len(OURS)):
            if len(found) == count:
                break
            candidate = held.enter_context(socket.socket())
            with contextlib.suppress(OSError):
                candidate.bind((LOOPBACK, port))
                found.append(port)
        return found


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
