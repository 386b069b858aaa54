"""A problem on one line, in the form that editors and people follow: `file:line:column CODE what — harm — mend`."""

from __future__ import annotations

from pathlib import Path

from journeys.language.problems import Problem


def as_line(file: Path, problem: Problem) -> str:
    """Line and column count from 1; what concerns the whole file is told of its beginning."""
    said = " — ".join(part for part in (problem.what, problem.harm, problem.mend) if part)
    return f"{file}:{problem.line or 1}:{problem.column or 1} {problem.code} {said}"
