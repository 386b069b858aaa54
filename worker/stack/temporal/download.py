"""Download of the Temporal CLI, compared with our SHA-256 before it is unpacked.

The archives of GitHub releases can be replaced. An archive with another checksum is deleted and never run.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import platform
import shutil
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

CLI_VERSION: Final = "1.9.1"
"""The version of `docker-compose.yml`; it brings server 1.32."""
RELEASE = f"https://github.com/temporalio/cli/releases/download/v{CLI_VERSION}/"
CHECKSUMS = "cc22cb0df0a9bab358500dce212616e8622b0649df68317d9858867d7dc69bd2"
"""SHA-256 of the release's `checksums.txt`, which has those of the archives."""
CONNECT_SECONDS: Final = 15.0
_MACHINES: Final[Mapping[str, str]] = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


class DownloadError(RuntimeError):
    """The CLI cannot be had from its release: the reason."""


async def download(folder: Path) -> Path:
    """The verified CLI in this folder. Raises DownloadError."""
    target = this_platform()
    name = f"temporal_cli_{CLI_VERSION}_{target}.tar.gz"
    archive = folder / f"{name}.part"
    try:
        async with httpx.AsyncClient(follow_redirects=True, timeout=CONNECT_SECONDS) as client:
            expected = await _listed(client, name)
            digest = await _fetch(client, RELEASE + name, archive)
        if not hmac.compare_digest(digest, expected):
            raise DownloadError(f"{name} has the SHA-256 {digest}, not {expected}: it was not unpacked")
        return await asyncio.to_thread(_unpack, archive, folder)
    except httpx.HTTPError as error:
        raise DownloadError(f"{RELEASE} cannot be reached ({type(error).__name__})") from error
    finally:
        archive.unlink(missing_ok=True)


def this_platform() -> str:
    """The platform of this machine as releases name it: `linux_amd64`."""
    machine = platform.machine().lower()
    return f"{platform.system().lower()}_{_MACHINES.get(machine, machine)}"


async def _listed(client: httpx.AsyncClient, name: str) -> str:
    """The SHA-256 of an archive by the release's own list, which is verified first."""
    answer = (await client.get(f"{RELEASE}checksums.txt")).raise_for_status()
    if hashlib.sha256(answer.content).hexdigest() != CHECKSUMS:
        raise DownloadError("checksums.txt of the release is not the one that we know")
    for line in answer.text.splitlines():
        digest, _, listed = line.partition("  ")
        if listed.strip() == name:
            return digest
    raise DownloadError(f"the release has no {name}")


async def _fetch(client: httpx.AsyncClient, url: str, archive: Path) -> str:
    """Write what is at a URL to a file; its SHA-256."""
    digest = hashlib.sha256()
    with archive.open("wb") as file:
        async with client.stream("GET", url) as answer:
            answer.raise_for_status()
            async for piece in answer.aiter_bytes():
                digest.update(piece)
                file.write(piece)
    return digest.hexdigest()


def _unpack(archive: Path, folder: Path) -> Path:
    """The command of an archive. It is renamed when complete: an interrupted one is never mistaken for it."""
    command = "temporal.exe" if os.name == "nt" else "temporal"
    finished, partial = folder / "temporal", folder / "temporal.part"
    with tarfile.open(archive) as members:
        source = members.extractfile(command) if command in members.getnames() else None
        if source is None:
            raise DownloadError(f"{archive.name} has no {command}")
        with partial.open("wb") as file:
            shutil.copyfileobj(source, file)
    partial.chmod(0o755)
    return partial.replace(finished)
