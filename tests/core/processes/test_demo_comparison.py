"""Comparison of two demonstrations: durations and process ids are left out, numbers of decisions are not."""

from __future__ import annotations

import pytest

from benchmarks.demo_quiet_and_busy import comparable

OUTPUT = """  worker: starting
  day 90: worker 14102 killed with SIGKILL on purpose; the supervisor restarts it
2026-11-30T09:15:00.944223Z [warning  ] stack.part_died exit_code=-9 part=worker restart_in=0.2
played 181 days in 67 s
│ decisions that differ │ 0 │
After SIGKILL of worker 14102 on day 90
"""


def test_durations_process_ids_and_log_lines_are_no_difference():
    other = OUTPUT.replace("14102", "7").replace("in 67 s", "in 101 s").replace("09:15:00", "11:00:01")
    other += "2026-11-30T09:15:00.944223Z [warning  ] one more\n"
    assert comparable(other) == comparable(OUTPUT)


@pytest.mark.parametrize(("old", "new"), [("│ 0 │", "│ 1 │"), ("181 days", "180 days"), ("day 90:", "day 91:")])
def test_counts_and_days_are_a_difference(old: str, new: str):
    assert comparable(OUTPUT.replace(old, new)) != comparable(OUTPUT)
