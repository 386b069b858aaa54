"""Trace ids: a sender's id is kept, others are derived from stored values (W3C Trace Context)."""

import pytest
from hypothesis import given as holds_for
from hypothesis import strategies as st

from journeys.events.tracing import event_of_trace, is_trace, trace_id_of, trace_of_event, trace_of_step, traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f" 00-{TRACE}-{SPAN}-00 ", TRACE),
        (f"cc-{TRACE}-{SPAN}-01-what-a-later-version-adds", TRACE),
        (f"00-{TRACE}-{SPAN}-01-extra", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE[:-1]}-{SPAN}-01", None),
        ("", None),
        (None, None),
    ],
)
def test_a_valid_traceparent_is_read_and_an_invalid_one_ignored(header, trace):
    assert trace_id_of(header) == trace


@holds_for(st.integers(1, 2**63 - 1), st.text(), st.text())
def test_the_derived_trace_of_an_event_is_valid_and_contains_its_number(number, source, message_id):
    trace = trace_of_event(number, source, message_id)
    assert is_trace(trace)
    assert event_of_trace(trace) == number
    assert trace_id_of(traceparent(trace, "a call")) == trace


def test_each_step_of_each_run_has_its_own_trace():
    run = "journey/setup/u_1/-/1"
    assert is_trace(trace_of_step(run, 1))
    assert len({trace_of_step(run, 1), trace_of_step(run, 2), trace_of_step("journey/setup/u_2/-/1", 1)}) == 3
