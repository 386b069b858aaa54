"""Components of our own beside worker and API: mail sink and local provider."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from worker.stack.components import ModuleComponent, http_ok
from worker.stack.free_ports import is_listening
from worker.stack.providers.environment import TOKEN

STOP_SECONDS = 5


def mail_component(home: Path, port: int, page_port: int, options: Sequence[str]) -> ModuleComponent:
    """The mail sink on `port` with its page on `page_port`; mails are in the folder `mail`."""

    async def ready() -> bool:
        return is_listening(port) and is_listening(page_port)

    ports = ("--port", str(port), "--page-port", str(page_port))
    module = ["worker.stack.mail_sink", *ports, "--maildir", str(home / "mail"), *options]
    return ModuleComponent("mail", module, home=home, env={}, ready=ready, stop_timeout=STOP_SECONDS)


def provider_component(home: Path, port: int, token: str) -> ModuleComponent:
    """The local provider; `token` is the key of its record. Arguments of a process are seen by everybody, so it is not one."""

    async def ready() -> bool:
        return await http_ok(f"http://127.0.0.1:{port}/_health")

    module = ["worker.stack.providers", "--port", str(port), "--folder", str(home / "provider")]
    return ModuleComponent("provider", module, home=home, env={TOKEN: token}, ready=ready, stop_timeout=STOP_SECONDS)
