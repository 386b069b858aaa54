"""Result of the check of a whole catalogue, which is published as one version."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from journeys.checks.checker import PublishableDefinition
from journeys.language.definition import Journey
from journeys.language.problems import Problem

Files = Mapping[str, bytes]
"""Contents of a catalogue's files by their path in its folder: `journeys/trial.yaml`."""
NEEDED_BY_OPEN_RUNS: Final = "CATALOGUE"
"""Code of a problem of a definition that is not published again, but has open runs."""


@dataclass(frozen=True, slots=True)
class OpenDefinition:
    """A published definition that has open runs."""

    key: str
    version: int
    hash: str
    journey: Journey


@dataclass(frozen=True, slots=True)
class FileProblem:
    """A problem, and the file that must change."""

    file: str
    problem: Problem


@dataclass(frozen=True, slots=True)
class CheckedCatalogue:
    """The definitions of a catalogue by their file, or every problem; `warnings` prevent nothing."""

    definitions: Mapping[str, PublishableDefinition]
    problems: Sequence[FileProblem] = ()
    warnings: Sequence[str] = ()


CatalogueCheck = Callable[[Files, Files, Sequence[OpenDefinition]], CheckedCatalogue]
"""Check the files, given those of the current version and the definitions with open runs. It blocks; it never raises."""
