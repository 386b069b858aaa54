"""Comparison of groups on a test clock with the same groups in memory, line by line."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from journeys.checks.checker import publishable_definition
from journeys.decision.chart import Chart
from journeys.decision.compiler import load_chart
from journeys.language.parsing import read_journey
from journeys.simulation.responder import Responder
from journeys.simulation.simulator import ComparableLine, comparable_lines, play_group
from journeys.simulation.timeline import Scenario
from journeys.tasks.assignment import Roster
from tests.support.equality.player import LivePlayer, Streams
from worker.settings import ROOT
from worker.testing.rehearsal import Rehearsal

Lines = Sequence[ComparableLine]


def catalog_with(folder: Path, policy: Mapping[str, Any] | None = None, team: str | None = None) -> Path:
    """The shipped catalogue with another policy and team."""
    catalog = Path(shutil.copytree(ROOT / "catalog", folder / "catalog"))
    if policy is not None:
        (catalog / "policy.yaml").write_text(yaml.safe_dump(dict(policy)))
    if team is not None:
        (catalog / "team.yaml").write_text(team)
    return catalog


async def publish_all(stage: Rehearsal, texts: Iterable[str]) -> tuple[Chart, ...]:
    """Publish journeys without the checker; their charts, as both sides decide by them."""
    charts = []
    for text in texts:
        await stage.publish(text, checked=False)
        definition, _ = read_journey(text)
        assert definition is not None
        charts.append(load_chart(publishable_definition(definition, stage.plan).artifact_text))
    return tuple(charts)


def scenario_of(stage: Rehearsal, charts: tuple[Chart, ...]) -> Scenario:
    """What the stage's worker decides by, for the in-memory world. Everybody has an inbox."""
    rules = stage.catalogue.consent
    templates = (ROOT / "catalog" / "templates").rglob("*.md")
    names = [path.relative_to(ROOT / "catalog" / "templates").with_suffix("").as_posix() for path in templates]
    owners = {name: stage.catalogue.owner_of(name) for name in names if "@" not in name and "." not in name}
    return Scenario(
        charts,
        rules.policy,
        frozenset({"in_app"}),
        roster=stage.catalogue.roster,
        consent=rules.rules,
        template_owners=owners,
    )


def player_of(stage: Rehearsal, roster: Roster, streams: Streams, responder: Responder | None = None) -> LivePlayer:
    """The player of these groups."""
    group_of = {
        name: group
        for group, events in streams.items()
        for event in events
        for name in (event.who, event.account, event.visitor)
    }
    return LivePlayer(stage, roster, streams, group_of.__getitem__, responder)


def assert_same(
    live: Mapping[str, Lines], scenario: Scenario, streams: Streams, until: datetime, responder: Responder | None = None
) -> int:
    """Each group was decided live as in memory, line by line; how many lines there are."""
    count = 0
    for group, events in streams.items():
        expected = comparable_lines(play_group(scenario, events, until, responder))
        for decided, names in _live_groups(live, expected):
            theirs = [line for line in expected if _subject_of(line) in names]
            difference = first_difference(decided, theirs)
            assert difference is None, f"{group} ({', '.join(sorted(names))}): {difference}"
        count += len(expected)
    return count


def _live_groups(live: Mapping[str, Lines], expected: Lines) -> list[tuple[Lines, set[str]]]:
    """The lines and names of the clock's groups with these subjects: people whom only a stream connects are apart there."""
    names: dict[int, set[str]] = {}
    for name, lines in live.items():
        names.setdefault(id(lines), set()).add(name)
    wanted = {_subject_of(line) for line in expected}
    assert wanted <= set(live), f"unknown on the clock: {wanted - set(live)}"
    return list({id(live[name]): (live[name], names[id(live[name])]) for name in sorted(wanted)}.values())


def _subject_of(line: ComparableLine) -> str:
    return line.name.split("/")[1]


def first_difference(live: Lines, memory: Lines) -> str | None:
    """The first line that differs, with those before it; None if all are equal."""
    for number in range(max(len(live), len(memory))):
        pair = live[number : number + 1], memory[number : number + 1]
        if list(pair[0]) != list(pair[1]):
            before = "\n".join(f"  = {_text(line)}" for line in memory[max(0, number - 8) : number])
            after = [
                f"  {side} {_text(line)}"
                for side, lines in (("live  ", live), ("memory", memory))
                for line in lines[number : number + 4]
            ]
            return f"line {number} of {len(live)} live and {len(memory)} in memory\n{before}\n" + "\n".join(after)
    return None


def _text(line: ComparableLine) -> str:
    until = f" until {line.until:%m-%d %H:%M}" if line.until is not None else ""
    return f"{line.at:%m-%d %H:%M} {line.name} {line.what} {line.about} {line.text}{until}"
