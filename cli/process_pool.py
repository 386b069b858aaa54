"""Process pool of backtests: each process gets a share of the people."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from journeys.consent.rules import ConsentRules
from journeys.decision.compiler import load_chart
from journeys.gate.policy import Policy
from journeys.simulation.backtest import Comparison, Stream, Tally, backtest, compare
from journeys.simulation.responder import Responder
from journeys.simulation.timeline import Scenario
from journeys.simulation.world import World
from journeys.tasks.assignment import Roster

SHARES_PER_CORE = 8


@dataclass(frozen=True)
class Job:
    """Input of every process. `texts` and `against` are artifacts; with `people`, each group's lines are returned too."""

    texts: tuple[str, ...]
    policy: Policy
    reachable: frozenset[str]
    streams: list[Stream]
    until: datetime | None
    against: tuple[str, ...] = ()
    people: bool = False
    roster: Roster | None = None
    consent: ConsentRules | None = None
    responder: Responder | None = None

    def scenario(self, texts: tuple[str, ...]) -> Scenario:
        charts = tuple(load_chart(text) for text in texts)
        return Scenario(charts, self.policy, self.reachable, roster=self.roster, consent=self.consent)


Share = tuple[Tally | Comparison, list[str]]
_job: Job | None = None


def run_job(job: Job, workers: int | None = None) -> Iterator[Share]:
    """Counts of each share and, with `people`, the lines of its runs as JSON, in the order of the groups."""
    cores = workers or os.cpu_count() or 1
    size = max(1, -(-len(job.streams) // (cores * SHARES_PER_CORE)))
    shares = [(start, start + size) for start in range(0, len(job.streams), size)]
    if cores == 1 or len(shares) < 2:
        yield from (_share(job, replace(job, streams=job.streams[a:b])) for a, b in shares)
        return
    job.scenario((*job.texts, *job.against))  # compiled once, before the processes are forked
    gc.collect()
    gc.freeze()
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(min(cores, len(shares)), _begin, (job,)) as pool:
        yield from pool.imap(_numbered, shares)
    gc.unfreeze()


def total(job: Job, workers: int | None = None) -> Tally:
    """Counts of all shares."""
    tally = Tally()
    for counted, _ in run_job(job, workers):
        assert isinstance(counted, Tally)  # without `against`
        tally.add(counted)
    return tally


def comparison(job: Job, workers: int | None = None) -> Comparison:
    """Differences of all shares."""
    result = Comparison()
    for counted, _ in run_job(job, workers):
        assert isinstance(counted, Comparison)  # with `against`
        result.add(counted)
    return result


def _begin(job: Job) -> None:
    """Initialise a process. A simulation makes no cyclic garbage, and looking for it takes a tenth of the time."""
    global _job  # noqa: PLW0603 — one job per process, set when it starts
    _job = job
    gc.disable()


def _numbered(share: tuple[int, int]) -> Share:
    assert _job is not None  # the pool's initialiser has run
    return _share(_job, replace(_job, streams=_job.streams[slice(*share)]))


def _share(job: Job, part: Job) -> Share:
    scenario = job.scenario(job.texts)
    if job.against:
        return compare(scenario, job.scenario(job.against), part.streams, job.until, job.responder), []
    lines: list[str] = []

    def detail(world: World) -> None:
        for subject, run, at, kind, about, text in world.lines():
            values = {"person": subject, "run": run, "at": at.isoformat(), "kind": kind, "about": about, "text": text}
            lines.append(json.dumps(values, ensure_ascii=False))

    return backtest(scenario, part.streams, job.until, detail if job.people else None, job.responder), lines
