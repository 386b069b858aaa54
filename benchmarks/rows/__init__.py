"""Benchmark rows, one module each with a function `measure`."""
