"""Problem: a fault in a definition, with its code, position, harm and mend.

Codes are stable. `docs/problems.md` has an example of every code, and a test proves that the example triggers it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from journeys.language.problem_codes import CODES

Path = tuple[str | int, ...]
"""The place of a value in a definition: `("states", "silent", "on", "order_completed", 0, "to")`."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a definition is not published. `line` and `column` count from 1; None without a text.

    `what` is the fault, `harm` its effect on a person, `mend` the author's remedy; `place` is the dotted path.
    """

    code: str
    place: str
    what: str
    harm: str
    mend: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        at = f"{self.line}:{self.column}: " if self.line is not None else ""
        return f"{at}{self.code} {self.place + ': ' if self.place else ''}{self.what}. {self.harm} {self.mend}"


def dotted(path: Path) -> str:
    """A path as text: `states.silent.on.order_completed[0].to`; keys with other characters are quoted."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif part.replace("_", "").replace("-", "").replace("/", "").isalnum():
            text += f".{part}" if text else part
        else:
            text += f"[{part!r}]"
    return text


def problem(code: str, path: Path, text: str, *, mend: str | None = None, at: tuple[int, int] | None = None) -> Problem:
    """A problem of this code at (line, column); harm and mend are the code's own, unless a better mend is known."""
    kind = CODES[code]
    line, column = at if at is not None else (None, None)
    return Problem(code, dotted(path), text, kind.harm, mend or kind.mend, line, column)


def sorted_problems(problems: Iterable[Problem]) -> list[Problem]:
    """Problems by line, column and code, each once."""
    return sorted(set(problems), key=lambda p: (p.line or 0, p.column or 0, p.code, p.place, p.what))
