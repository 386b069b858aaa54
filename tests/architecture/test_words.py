"""Words: headings of modules, names with one meaning, and words that the glossary replaces."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("activities", "api", "benchmarks", "cli", "journeys", "store", "worker", "workflows")
QUESTION_WORDS = {"What", "Who", "Whom", "Whose", "Whoever", "Whatever", "Where", "Wherever", "Which", "How"}
MOST_WORDS, MOST_CHARACTERS = 14, 100
SHARED_NAMES = {
    "command": "the function that `cli/app.py` calls in each module of `cli/commands`",
    "measure": "the function that `benchmarks/__main__.py` calls in each module of `benchmarks/rows`",
    "main": "the entry point of a module that runs with `python -m`",
    "move_to": "the function that `store/events/merges.py` calls in each package when a visitor becomes a user",
    "upgrade": "Alembic calls it in each migration",
    "downgrade": "Alembic calls it in each migration",
}
"""Public names that may have more than one definition, each with the reason."""
REPLACED = {
    "alarm": "timer",
    "anew": "again",
    "bury": "dead_letter",
    "doorbell": "listener",
    "house": "dependencies",
    "letter": "arrival",
    "owed": "due",
    "rounds": "loop",
    "spoken": "statements",
    "stone": "dead_letter",
    "told": "a name of the thing",
    "witness": "satisfying_values",
}
"""Words of names that mean nothing to a stranger, with the word to use."""
DEAD_LETTER = re.compile("dead_?letter", re.IGNORECASE)


def _modules() -> list[Path]:
    modules = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(modules) > 400
    return modules


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _heading(path: Path) -> str:
    return (ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").partition("\n")[0]


def heading_faults(heading: str) -> list[str]:
    """Faults of the first line of a module, as predicates."""
    words = heading.split()
    faults = []
    if not words:
        faults.append("is missing")
    elif words[0].strip(",:") in QUESTION_WORDS:
        faults.append(f"begins with {words[0]}")
    if len(words) > MOST_WORDS:
        faults.append(f"has {len(words)} words")
    if len(heading) > MOST_CHARACTERS:
        faults.append(f"has {len(heading)} characters")
    return faults


def test_every_modules_first_line_is_short_and_is_no_question():
    faults = {_name(path): heading_faults(_heading(path)) for path in _modules()}
    assert {name: of_name for name, of_name in faults.items() if of_name} == {}


def test_a_missing_interrogative_or_long_first_line_is_detected():
    assert heading_faults("") == ["is missing"]
    assert heading_faults("What a person is owed.") == ["begins with What"]
    assert heading_faults("one " * 15) == ["has 15 words"]


def _definitions(path: Path) -> Iterator[str]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.Assign) and _is_type_name(node.targets[0]):
            yield ast.unparse(node.targets[0])


def _is_type_name(target: ast.expr) -> bool:
    """An alias of a type, as in `ChannelName = Literal[…]`; not a constant and not a value in lower case."""
    return isinstance(target, ast.Name) and target.id[0].isupper() and not target.id.isupper()


def test_a_public_name_has_one_definition():
    places: dict[str, list[str]] = defaultdict(list)
    for path in _modules():
        for name in _definitions(path):
            if not name.startswith("_") and name not in SHARED_NAMES:
                places[name].append(_name(path))
    homonyms = {name: modules for name, modules in places.items() if len(modules) > 1}
    assert homonyms == {}


def test_no_name_contains_a_word_that_has_a_replacement():
    violations = [
        f"{_name(path)}: {name} (say {REPLACED[word]})"
        for path in _modules()
        for name in (path.stem, *_definitions(path))
        for word in (part.lower() for part in re.findall(r"[A-Z]?[a-z]+", name))
        if word in REPLACED and not DEAD_LETTER.search(name)
    ]
    assert violations == []


def test_the_glossary_lists_each_word_once_and_in_order():
    text = (ROOT / "docs" / "glossary.md").read_text("utf-8")
    words = re.findall(r"^\| \*\*([^*]+)\*\* \|", text, re.MULTILINE)
    assert len(words) > 40
    assert words == sorted(set(words), key=str.lower)
