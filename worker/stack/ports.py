"""Ports of a stack: defaults, settings, and those that a folder keeps.

A folder keeps its ports: after a restart everything has the address that it had before. A Temporal server with other ports
would also wait for the services of its last start.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from worker.setting_values import fault_sentences
from worker.settings import PREFIX, Settings, SettingsError
from worker.stack.address_checks import StackError
from worker.stack.free_ports import LOOPBACK, free_ports, is_free
from worker.stack.temporal.build import ProgressReport

P = TypeVar("P", int, list[int])

FILE: Final = "ports.json"
_SERVICES: Final = "temporal_services"


class PortSettings(BaseSettings):
    """Ports of embedded components but the API's and the worker's. Zero is any free port."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    temporal_port: int = Field(7_233, ge=0, le=65_535, description="Port of the embedded Temporal.")
    temporal_ui_port: int = Field(
        8_233, ge=0, le=65_535, description="Port of the embedded Temporal's UI, which only the Temporal CLI has."
    )
    mail_port: int = Field(1_025, ge=0, le=65_535, description="Port of the embedded mail sink, for SMTP.")
    mail_page_port: int = Field(8_025, ge=0, le=65_535, description="Port of the page that shows the caught mails.")
    provider_port: int = Field(8_405, ge=0, le=65_535, description="Port of the local provider.")


def load_ports(**given: Any) -> PortSettings:
    """Read the ports; `given` wins over the environment. Raises SettingsError with every fault."""
    try:
        return PortSettings(**{name: port for name, port in given.items() if port is not None})
    except ValidationError as error:
        raise SettingsError(fault_sentences(PREFIX, error)) from error


ANY_PORTS: Final = PortSettings(temporal_port=0, temporal_ui_port=0, mail_port=0, mail_page_port=0, provider_port=0)
"""Free ports for everything: for stacks that no person visits."""


class HomePorts:
    """Ports of one folder, kept in its `ports.json`.

    - A port of the settings must be free, or StackError names its variable.
    - Otherwise the default is taken. If another program has it, the folder's last port or any free one is, and it is said.
    - Zero in the settings is the folder's last port, or any free one.
    """

    def __init__(self, home: Path, settings: Settings, ports: PortSettings, say: ProgressReport) -> None:
        self._file, self._say = home / FILE, say
        self._asked = {name: getattr(owner, name) for owner in (settings, ports) for name in owner.model_fields_set}
        self._defaults = {**PortSettings.model_construct().model_dump(), "api_port": 8_400, "worker_port": 8_401}
        self._kept = _read(self._file)

    def port(self, name: str, host: str = LOOPBACK) -> int:
        """The port of the setting with this name. Raises StackError."""
        asked: int | None = self._asked.get(name)
        variable = PREFIX + name.upper()
        if asked:
            if not is_free(asked, host):
                raise StackError(f"{variable}={asked} is taken. Give it another port, or 0 for any free one.")
            return self._keep(name, asked)
        default: int = self._defaults.get(name, 0)
        if asked is None and default and is_free(default, host):
            return self._keep(name, default)
        port = self._last_or_free(name, host)
        if asked is None and default:
            self._say(f"port {default} is taken by another program: {port} instead ({variable} chooses another)")
        return port

    def temporal_services(self, count: int) -> list[int]:
        """Ports of Temporal's services: those of the last start if all are free."""
        kept = self._kept.get(_SERVICES)
        if isinstance(kept, list) and len(kept) == count and all(map(is_free, kept)):
            return kept
        return self._keep(_SERVICES, free_ports(count))

    def _last_or_free(self, name: str, host: str) -> int:
        last = self._kept.get(name)
        return last if isinstance(last, int) and is_free(last, host) else self._keep(name, free_ports(1)[0])

    def _keep(self, name: str, ports: P) -> P:
        if self._kept.get(name) != ports:
            self._kept[name] = ports
            self._file.touch(mode=0o600)
            self._file.write_text(json.dumps(self._kept, indent=2))
        return ports


def _read(file: Path) -> dict[str, int | Sequence[int]]:
    """The kept ports; none if there is no file that can be read."""
    try:
        kept = json.loads(file.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
