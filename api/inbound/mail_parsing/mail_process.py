"""Process that parses inbound mails, one at a time: `python -m api.inbound.mail_parsing.mail_process`.

Standard input has each mail with its length before it, standard output each result likewise; an empty result means that the mail
cannot be read. A mail that takes more CPU than allowed ends the process: a thread could not be stopped. The process has
no settings and no secrets.
"""

from __future__ import annotations

import resource
import signal
import sys
from dataclasses import asdict
from typing import BinaryIO, Final

import orjson

from api.inbound.mail_parsing.mail_parser import read_mail

CPU_SECONDS: Final = 1.0
MEMORY: Final = 512 * 1024 * 1024
LENGTH_BYTES: Final = 4


def serve(source: BinaryIO, output: BinaryIO) -> None:
    """Parse mails until the input ends."""
    while len(length := source.read(LENGTH_BYTES)) == LENGTH_BYTES:
        result = _parsed(source.read(int.from_bytes(length)))
        output.write(len(result).to_bytes(LENGTH_BYTES) + result)
        output.flush()


def _parsed(raw: bytes) -> bytes:
    """The mail as JSON; empty if it cannot be read."""
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)  # SIGPROF ends the process
    try:
        return orjson.dumps(asdict(read_mail(raw)))
    except Exception:  # noqa: BLE001 -- whatever a stranger's mail does to the parser, it is only unreadable
        return b""
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def main() -> None:
    """Limit the memory, then serve the parent."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
