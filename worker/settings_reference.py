"""The settings reference as Markdown: `python -m worker.settings_reference > docs/settings.md`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from api.http.limits import Limits
from worker.provider_settings import ProviderSettings
from worker.retention_settings import RetentionSettings
from worker.settings import ROOT, Settings
from worker.stack.ports import PortSettings

INTRODUCTION = """\
# Settings

Every process reads its settings from the environment once, at its start. An empty variable counts as not set. A wrong or missing
setting stops the process with a message that names it. This page is generated: `python -m worker.settings_reference` prints it.
"""
SECTIONS: tuple[tuple[str, str, type[BaseSettings]], ...] = (
    ("Processes", "Database, Temporal, mail, API and catalogue.", Settings),
    (
        "Ports of `up`",
        "Ports of embedded components. Another free one is taken if a default is taken, and `up` says so; 0 is any free one.",
        PortSettings,
    ),
    (
        "Providers",
        "Providers of channels, CRMs, audiences and the feed. A provider is off until it is configured.",
        ProviderSettings,
    ),
    (
        "Retention",
        "Days after which rows are deleted ([operation](operation.md#retention)). Without a value they are kept.",
        RetentionSettings,
    ),
    ("Limits of the API", "Bounds that keep memory flat. Beyond them a caller gets 413, 429 or 503.", Limits),
)


def settings_markdown() -> str:
    """The whole page: a table of variable, default and meaning for each class of settings."""
    parts = [INTRODUCTION]
    for title, about, model in SECTIONS:
        rows = "\n".join(_rows(model))
        parts.append(f"## {title}\n\n{about}\n\n| variable | default | meaning |\n|---|---|---|\n{rows}\n")
    return "\n".join(parts)


def _rows(model: type[BaseSettings]) -> Iterator[str]:
    prefix = str(model.model_config.get("env_prefix", ""))
    for name, field in model.model_fields.items():
        yield f"| `{prefix}{name.upper()}` | {_default(field)} | {field.description} |"


def _default(field: FieldInfo) -> str:
    value = field.default
    match value:
        case None | "":
            return ""
        case SecretStr():
            return "a public development key" if value.get_secret_value() else ""
        case Path():
            return f"`{value.relative_to(ROOT) if value.is_relative_to(ROOT) else value}`"
        case bool():
            return f"`{str(value).lower()}`"
        case _:
            return f"`{value}`"


if __name__ == "__main__":
    print(settings_markdown(), end="")
