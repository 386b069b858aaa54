"""One-line format of a problem: `file:line:column CODE problem — harm — fix`."""

from __future__ import annotations

from pathlib import Path

from journeys.language.problems import Problem


def as_line(file: Path, problem: Problem) -> str:
    """Line and column count from 1; a problem of the whole file is at its beginning."""
    text = " — ".join(part for part in (problem.what, problem.harm, problem.mend) if part)
    return f"{file}:{problem.line or 1}:{problem.column or 1} {problem.code} {text}"
