"""The schema tool is built once, of the server's version; visibility's schema is rewritten for the embedded PostgreSQL."""

import os
import stat

import pytest

from worker.stack.temporal.build import SERVER, SERVER_VERSION, NoTemporalError, cache_folder
from worker.stack.temporal.schema import MAIN, TOOL, VISIBILITY, schema_tool, without_btree_gin

FILE = """
DO LANGUAGE 'plpgsql' $$
    BEGIN
        IF ( NOT EXISTS (select extname from pg_extension where extname = 'btree_gin') ) THEN
            CREATE EXTENSION btree_gin;
        END IF;
    END
$$;

CREATE FUNCTION convert_ts(s VARCHAR) RETURNS TIMESTAMP AS $$
BEGIN
  RETURN s::timestamptz at time zone 'UTC';
END
$$ LANGUAGE plpgsql IMMUTABLE RETURNS NULL ON NULL INPUT;
CREATE INDEX by_text_01 ON executions_visibility USING GIN (namespace_id, Text01);
CREATE INDEX by_status ON executions_visibility (namespace_id, status);
"""


@pytest.fixture
def go(tmp_path, monkeypatch):
    """A machine with an empty cache and a `go` that logs its arguments, builds a program and has a module."""
    path, module = tmp_path / "bin", tmp_path / "module"
    path.mkdir()
    version = module / "schema/postgresql/v12/visibility/versioned/v1.2"
    version.mkdir(parents=True)
    (version / "manifest.json").write_text("{}")
    (version / "it.sql").write_text(FILE)
    (path / "go").write_text(
        f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\nPATH={os.defpath}:/usr/bin:/bin\n'
        f'if [ "$1" = mod ]; then echo "go: switching"; echo \'{{"Dir": "{module}"}}\'; exit; fi\n'
        "mkdir -p $GOBIN\nprintf '#!/bin/sh\\n' > $GOBIN/sql\nchmod +x $GOBIN/sql\n"
    )
    (path / "go").chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "calls"


def quiet(_: str) -> None:
    pass


async def test_the_tool_and_visibilitys_schema_are_made_once(go):
    tool = await schema_tool(quiet)
    assert tool.program == cache_folder() / "sql"
    assert (tool.visibility / "v1.2" / "manifest.json").read_text() == "{}"
    assert "btree_gin" not in (tool.visibility / "v1.2" / "it.sql").read_text()
    assert await schema_tool(quiet) == tool
    assert [line.split()[0] for line in go.read_text().splitlines()] == ["install", "mod"]


async def test_an_interrupted_copy_is_made_again(go):
    tool = await schema_tool(quiet)
    tool.visibility.rename(cache_folder() / "visibility-draft")
    assert (await schema_tool(quiet)).visibility.exists()


async def test_without_go_the_error_says_what_is_missing(go):
    (go.parent / "bin" / "go").unlink()
    with pytest.raises(NoTemporalError, match=r"needs Temporal's schema tool.*no command `go` on PATH"):
        await schema_tool(quiet)


def test_server_and_schema_tool_are_built_from_one_version():
    assert {program.package.rpartition("@")[2] for program in (SERVER, TOOL)} == {f"v{SERVER_VERSION}"}


def test_visibilitys_schema_loses_only_the_extension_and_the_leading_namespace():
    kept = FILE.replace("(namespace_id, Text01)", "(Text01)")
    assert without_btree_gin(FILE) == "\n" + kept[kept.index("\n\nCREATE FUNCTION") :]


async def test_only_visibility_is_installed_from_the_rewritten_files(go):
    tool = await schema_tool(quiet)
    assert [step for step in tool.steps(MAIN) if str(tool.visibility) in step] == []
    assert [step[0] for step in tool.steps(VISIBILITY) if str(tool.visibility) in step] == ["update-schema"]
