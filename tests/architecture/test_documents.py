"""Documents: every path, setting, command and metric that they name exists."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from api.http.limits import Limits
from cli.app import COMMANDS
from worker.provider_settings import ProviderSettings
from worker.retention_settings import RetentionSettings
from worker.settings import Settings
from worker.settings_reference import settings_markdown
from worker.stack.ports import PortSettings

ROOT = Path(__file__).resolve().parents[2]
OPTIONAL = {"catalog/audiences.yaml"}
"""Files of a company's catalogue that the shipped one does not have."""
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TREE = (
    "activities",
    "api",
    "benchmarks",
    "catalog",
    "cli",
    "docs",
    "journeys",
    "store",
    "tests",
    "worker",
    "workflows",
)
# Read by the tests, not by a settings class.
OTHER_SETTINGS = {"TENURE_TEST_RUN"}


def _read(path: Path) -> str:
    return path.read_text("utf-8")


def _targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):.*##", _read(ROOT / "Makefile"), re.MULTILINE))


def test_the_documents_are_found():
    assert {path.name for path in DOCUMENTS} >= {"README.md", "CONTRIBUTING.md", "policy.md", "glossary.md"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_path_in_back_ticks_exists(document):
    named = re.findall(rf"`((?:{'|'.join(TREE)})/[^`\s*:?]*)`", _read(document))
    named += re.findall(r"python -m pytest (?:-m \w+ )?(tests/[^\s`):]+)", _read(document))
    missing = {path for path in named if "…" not in path and "<" not in path and not (ROOT / path).exists()}
    assert missing <= OPTIONAL


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_has_a_target(document):
    broken = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", _read(document)):
        if target.startswith(("http:", "https:")):
            continue
        path = (document.parent / target).resolve() if target else document
        if not path.exists() or (anchor and path.suffix == ".md" and anchor[1:] not in set(_anchors(path))):
            broken.append(target + anchor)
    assert broken == []


def _anchors(path: Path) -> Iterator[str]:
    """GitHub's anchors of a document's headings."""
    for heading in re.findall(r"^#+ (.+)$", _read(path), re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower())
        yield plain.replace(" ", "-")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_setting_exists(document):
    models = (Settings, PortSettings, ProviderSettings)
    known = {f"TENURE_{name.upper()}" for model in models for name in model.model_fields}
    known |= {f"TENURE_API_{name.upper()}" for name in Limits.model_fields} | OTHER_SETTINGS
    known |= {f"TENURE_RETENTION_{name.upper()}" for name in RetentionSettings.model_fields}
    assert set(re.findall(r"TENURE_[A-Z_]+[A-Z]", _read(document))) - known == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_exists(document):
    text = _read(document)
    assert set(re.findall(r"python -m cli ([a-z][a-z-]*)", text)) <= set(COMMANDS)
    assert (
        set(re.findall(r"`make ([a-z]+)", text)) | set(re.findall(r"^\$ make ([a-z]+)", text, re.MULTILINE))
        <= _targets()
    )
    for module in re.findall(r"python -m ([a-z_]+(?:\.[a-z_]+)+)", text):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_metric_exists(document):
    code = "\n".join(
        _read(path) for folder in ("activities", "api", "worker") for path in sorted((ROOT / folder).rglob("*.py"))
    )
    named = set(re.findall(r"\btenure_[a-z_]+[a-z]\b", _read(document))) - {"tenure_journey", "tenure_servers"}
    # Fields that tasks need in HubSpot are not metrics.
    named -= {"tenure_task_key", "tenure_outcome"}
    assert {name for name in named if name.removesuffix("_total") not in code} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_document_cites_a_design_paper_outside_the_repository(document):
    assert re.findall(r"design §|design\.md|restructure\.md", _read(document)) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_cited_row_of_the_handbook_exists(document):
    rows = set(re.findall(r"^\| ([A-Z]\d+) \|", _read(ROOT / "docs" / "handbook.md"), re.MULTILINE))
    assert len(rows) > 80
    cited = set(re.findall(r"\(([HPSUJCQM]\d{1,2})\)", _read(document)))
    assert cited <= rows


def test_the_settings_reference_is_generated_from_the_code():
    assert _read(ROOT / "docs" / "settings.md") == settings_markdown()


@pytest.mark.parametrize("model", [Settings, PortSettings, ProviderSettings, RetentionSettings, Limits])
def test_every_setting_has_a_description(model):
    assert [name for name, field in model.model_fields.items() if not field.description] == []


def test_the_functions_that_the_architecture_page_names_are_in_their_files():
    text = _read(ROOT / "docs" / "architecture.md")
    named = re.findall(r"`([a-z_]+(?:/[a-z_]+)+\.py)`\s+`([a-z_]+)`", text)
    assert len(named) >= 15
    assert [(path, name) for path, name in named if not re.search(rf"def {name}\b", _read(ROOT / path))] == []
