"""Processes: worker, relay, loops, embedded stack, composition root."""
