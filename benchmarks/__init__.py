"""Benchmarks: Tenure against hand-written Temporal workflows, in interleaved runs."""
