"""Composition root: the only place where settings become databases, clients, channels and loops.

Whoever needs one, a process, a command, a rehearsal or a benchmark, calls a function of these modules; only tests build
parts by themselves. `tests/architecture/test_composition_root.py` holds it.
"""
