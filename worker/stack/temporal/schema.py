"""Temporal's schema in PostgreSQL, installed and updated by Temporal's own tool.

The tool is built when it is first needed. The embedded PostgreSQL has no extension `btree_gin`: the schema of visibility
is installed without it, so its GIN indexes lack their leading `namespace_id`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from worker.stack.temporal.build import (
    BUILD_SECONDS,
    SERVER_VERSION,
    BuildError,
    GoProgram,
    NoTemporalError,
    ProgressReport,
    build,
    cache_folder,
    go_command,
    one_at_a_time,
    watched,
)

TOOL: Final = GoProgram("schema tool", "cmd/tools/sql")
MAIN: Final = "temporal"
VISIBILITY: Final = "temporal_visibility"
STEP_SECONDS: Final = 120
_VISIBILITY_FILES: Final = Path("schema/postgresql/v12/visibility/versioned")
_EXTENSION = re.compile(r"DO LANGUAGE 'plpgsql' \$\$\s+BEGIN\s+IF \([^;]*'btree_gin'[^$]*\$\$;")
_LEADING_NAMESPACE = re.compile(r"(USING GIN \()namespace_id, ")


@dataclass(frozen=True, slots=True)
class SchemaTool:
    """The built tool, and the folder of visibility's schema without `btree_gin`."""

    program: Path
    visibility: Path

    def steps(self, database: str) -> tuple[list[str], ...]:
        """Arguments of the runs that bring a database to this version. Each may be repeated."""
        schema = ["--schema-name", "postgresql/v12/temporal"]
        if database == VISIBILITY:
            schema = ["--schema-dir", str(self.visibility)]
        return (
            ["create-database", "--defaultdb", "postgres"],
            ["setup-schema", "--version", "0.0"],
            ["update-schema", *schema],
        )


async def schema_tool(say: ProgressReport) -> SchemaTool:
    """The tool and its files from the cache, made where they are missing.

    Raises NoTemporalError with the reason why they cannot be made.
    """
    tool = SchemaTool(TOOL.path, cache_folder() / "visibility-schema")
    if tool.program.exists() and tool.visibility.exists():
        return tool
    cache_folder().mkdir(parents=True, exist_ok=True)
    async with one_at_a_time(say):
        try:
            if not tool.program.exists():
                await build(TOOL, say)
            if not tool.visibility.exists():
                await _copy_visibility(tool.visibility, say)
        except BuildError as error:
            raise NoTemporalError(f"Temporal on PostgreSQL needs Temporal's schema tool. {error}") from error
    return tool


async def install_schema(tool: SchemaTool, database: str, environ: Mapping[str, str]) -> None:
    """Create a database if it is missing, and bring its schema to the tool's version.

    `environ` has the address and the password: arguments of a process are seen by everybody. Raises NoTemporalError with the
    end of the tool's output.
    """
    for step in tool.steps(database):
        command = [str(tool.program), *step]
        ended = await asyncio.to_thread(_run, command, {**environ, "SQL_DATABASE": database})
        if ended.returncode != 0:
            output = (ended.stdout + ended.stderr)[-1_000:].strip()
            raise NoTemporalError(f"Temporal's schema: `{step[0]}` failed on {database}:\n{output}")


def without_btree_gin(text: str) -> str:
    """A file of visibility's schema that needs no extension: one namespace needs no index by namespace."""
    return _LEADING_NAMESPACE.sub(r"\1", _EXTENSION.sub("", text))


def _run(command: list[str], environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=STEP_SECONDS, check=False
    )


async def _copy_visibility(target: Path, say: ProgressReport) -> None:
    """Copy visibility's schema from the module that the tool was built from. Raises BuildError."""
    module = f"go.temporal.io/server@v{SERVER_VERSION}"
    command = [go_command(), "mod", "download", "-json", module]
    code, output = await watched(command, "temporal: downloading", BUILD_SECONDS, say, {"GOTOOLCHAIN": "auto"})
    if code != 0:
        raise BuildError(f"schema: `go mod download {module}` failed ({code}): {output[-300:].strip()}")
    draft = cache_folder() / "visibility-draft"
    shutil.rmtree(draft, ignore_errors=True)
    for path in sorted((_module_folder(output) / _VISIBILITY_FILES).glob("*/*")):
        copy = draft / path.parent.name / path.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(without_btree_gin(path.read_text("utf-8")), "utf-8")
    draft.replace(target)


def _module_folder(output: str) -> Path:
    """The folder in Go's JSON, which follows lines about the toolchain."""
    return Path(json.loads(output[output.index("{") :])["Dir"])
