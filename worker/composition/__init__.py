"""Composition root: the only place where settings become databases, clients, channels and loops.

Processes, commands, rehearsals and benchmarks call functions of these modules; only tests build parts by themselves.
`tests/architecture/test_composition_root.py` checks this.
"""
