"""Failures of commands that speak to Temporal, as one sentence.

It names what is missing and what to do.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn

import typer
from temporalio.service import RPCError, RPCStatusCode

from cli.terminal import one_line_of
from worker.composition.clients import NO_TEMPORAL
from worker.payload_encryption import PayloadNotDecrypted
from worker.settings import SettingsError, load_settings
from worker.stack.endpoints import read_endpoints

START = "Start it with `make up`, or give --address."


@contextlib.contextmanager
def explained(address: str | None, what: str) -> Iterator[None]:
    """Exit with 1 and one sentence where Temporal at `address` does not answer, or has no `what`."""
    try:
        yield
    except SettingsError as error:
        _exit(str(error))
    except PayloadNotDecrypted as error:
        _exit(f"{error}: set TENURE_PAYLOAD_KEYS as the worker has it")
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            _exit(f"Temporal at {address} has no {what}.")
        _exit(f"Temporal at {address} answers {error.status.name}: {error.message[:200]}")
    except RuntimeError as error:
        if type(error) is not RuntimeError:  # the SDK's answer to a refused connection is of this very type
            raise
        if address is None:
            _exit(NO_TEMPORAL)
        _exit(f"Temporal at {address} does not answer. {START}")


def temporal_address(given: str | None) -> str | None:
    """The given address, that of the settings, or that of the stack that runs on this machine."""
    try:
        settings = load_settings(temporal_address=given)
    except SettingsError as error:
        _exit(str(error))
    running = read_endpoints(settings.home)
    return settings.temporal_address or (running.temporal_address if running is not None else None)


def _exit(sentence: str) -> NoReturn:
    typer.echo(one_line_of(sentence), err=True)
    raise typer.Exit(1)
