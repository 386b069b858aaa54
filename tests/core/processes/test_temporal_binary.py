"""The search for a Temporal server: its order, and the error when there is none."""

import hashlib
import io
import os
import stat
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from worker.stack.temporal import download as temporal_download
from worker.stack.temporal.binary import find_server, find_temporal, inspect
from worker.stack.temporal.build import NoTemporalError, cache_folder

NEW = "temporal version 1.8.0 (Server 1.32.0, UI 2.50.0)"
OLD = "temporal version 1.5.1 (Server 1.29.1, UI 2.42.1)"
PLAIN = "temporal version 1.32.2"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with nothing on PATH, an empty cache and no network."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(temporal_download, "RELEASE", "http://127.0.0.1:9/")
    return path


def program(path, prints, code=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{prints}'\nexit {code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


async def find(named=None):
    messages = []
    return await find_temporal(named, say=messages.append), messages


async def test_the_binary_that_a_setting_names_is_used_first(machine, tmp_path):
    program(machine / "temporal", NEW)
    binary, _ = await find(program(tmp_path / "mine", PLAIN))
    assert (binary.path.name, binary.kind, binary.version) == ("mine", "server", "1.32.2")


async def test_an_outdated_binary_that_a_setting_names_is_refused_and_not_replaced(machine, tmp_path):
    program(machine / "temporal", NEW)
    with pytest.raises(NoTemporalError, match=r"TENURE_TEMPORAL_BIN cannot be used: .* server 1\.29\.1"):
        await find(program(tmp_path / "mine", OLD))


async def test_the_command_on_path_is_used_before_the_cache_if_it_is_new_enough(machine):
    program(cache_folder() / "server", PLAIN)
    program(machine / "temporal", NEW)
    binary, _ = await find()
    assert (binary.kind, binary.version) == ("cli", "1.32.0")


async def test_the_cache_is_used_if_the_command_on_path_is_too_old(machine):
    program(machine / "temporal", OLD)
    program(cache_folder() / "server", PLAIN)
    binary, messages = await find()
    assert (binary.kind, messages) == ("server", [])


async def test_a_server_is_built_with_go_and_cached_if_there_is_no_other(machine):
    go = machine / "go"
    program(go, "unused").write_text(
        f'#!/bin/sh\n[ "$GOTOOLCHAIN" = auto ] || exit 9\nPATH={os.defpath}:/usr/bin:/bin\n'
        f"mkdir -p $GOBIN\nprintf '#!/bin/sh\\necho {PLAIN}\\n' > $GOBIN/server\nchmod +x $GOBIN/server\n"
    )
    binary, messages = await find()
    assert binary.path == (cache_folder() / "server").resolve()
    assert any("building server 1.32.2 with Go" in line for line in messages)
    go.unlink()
    assert (await find())[0] == binary


async def test_a_failed_build_is_reported_with_the_end_of_its_output(machine):
    program(machine / "go", "no route to the module proxy", code=1)
    with pytest.raises(NoTemporalError, match="no route to the module proxy"):
        await find()
    assert not (cache_folder() / "server").exists()


async def test_without_any_server_the_error_lists_the_attempts_and_the_remedies(machine):
    program(machine / "temporal", OLD)
    with pytest.raises(NoTemporalError) as error:
        await find()
    for words in (
        "is server 1.29.1; 1.32 or newer is needed",
        "http://127.0.0.1:9/ cannot be reached",
        "no command `go` on PATH",
        "install the Temporal CLI",
        "TENURE_TEMPORAL_BIN=",
        "install Go",
        "TENURE_TEMPORAL_ADDRESS=",
    ):
        assert words in str(error.value)


async def test_temporal_on_postgresql_does_not_use_a_cli(machine):
    program(machine / "temporal", NEW)
    program(cache_folder() / "temporal", NEW)
    with pytest.raises(NoTemporalError, match=r"(?s)needs the plain server.*no command `go` on PATH"):
        await find_server(say=lambda _: None)
    program(cache_folder() / "server", PLAIN)
    assert (await find_server(say=lambda _: None)).kind == "server"


@pytest.mark.parametrize("prints", [NEW, "temporal version 1.33.0"])
async def test_a_named_server_of_another_version_than_the_schema_tool_is_refused(machine, tmp_path, prints):
    with pytest.raises(NoTemporalError, match=r"needs the plain server 1\.32\.2; without the setting it is built"):
        await find_server(program(tmp_path / "mine", prints), say=lambda _: None)


@pytest.mark.parametrize("answer", ["hello", ""])
def test_a_program_that_is_not_temporal_is_refused(tmp_path, answer):
    with pytest.raises(ValueError, match="not a Temporal binary"):
        inspect(program(tmp_path / "temporal", answer))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ValueError, match="cannot be run"):
        inspect(tmp_path / "missing")


# -- the download ----------------------------------------------------------------------------------------------------


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def release(machine, tmp_path, monkeypatch):
    """A release with one archive for a platform, served on this machine; its SHA-256."""
    folder = tmp_path / "release"
    folder.mkdir()
    script = f"#!/bin/sh\necho '{NEW}'\n".encode()
    member = tarfile.TarInfo("temporal")
    member.size = len(script)
    name = f"temporal_cli_{temporal_download.CLI_VERSION}_plan9_mips.tar.gz"
    with tarfile.open(folder / name, "w:gz") as archive:
        archive.addfile(member, io.BytesIO(script))
    digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "checksums.txt").write_text(f"{'0' * 64}  other.tar.gz\n{digest}  {name}\n")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever).start()
    monkeypatch.setattr(temporal_download, "RELEASE", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(temporal_download, "this_platform", lambda: "plan9_mips")
    yield digest
    server.shutdown()
    server.server_close()


def known_list():
    return hashlib.sha256((cache_folder().parents[2] / "release" / "checksums.txt").read_bytes()).hexdigest()


async def test_the_download_is_used_if_the_releases_list_has_our_checksum(release, monkeypatch):
    monkeypatch.setattr(temporal_download, "CHECKSUMS", known_list())
    binary, messages = await find()
    assert (binary.kind, binary.path) == ("cli", (cache_folder() / "temporal").resolve())
    assert any("downloading the Temporal CLI" in line for line in messages)


async def test_a_download_with_another_checksum_than_the_lists_is_never_unpacked(release, monkeypatch):
    listed = cache_folder().parents[2] / "release" / "checksums.txt"
    listed.write_text(listed.read_text().replace(release, "0" * 64))
    monkeypatch.setattr(temporal_download, "CHECKSUMS", known_list())
    with pytest.raises(NoTemporalError, match=f"has the SHA-256 {release}, not 0{{64}}: it was not unpacked"):
        await find()
    assert [path.name for path in cache_folder().iterdir()] == [".lock"]


@pytest.mark.usefixtures("release")
async def test_a_release_with_another_list_is_not_downloaded():
    with pytest.raises(NoTemporalError, match=r"checksums.txt of the release is not the one that we know"):
        await find()
    assert [path.name for path in cache_folder().iterdir()] == [".lock"]


async def test_a_platform_that_the_release_does_not_have_is_named(release, monkeypatch):
    monkeypatch.setattr(temporal_download, "CHECKSUMS", known_list())
    monkeypatch.setattr(temporal_download, "this_platform", lambda: "sunos_sparc")
    with pytest.raises(NoTemporalError, match=r"the release has no temporal_cli_.*_sunos_sparc\.tar\.gz"):
        await find()
