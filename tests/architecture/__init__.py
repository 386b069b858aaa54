"""Tests of the source: imports, purity, sizes, documents."""
