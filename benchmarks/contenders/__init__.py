"""Contenders: our runs and hand-written Temporal workflows, under one load."""
