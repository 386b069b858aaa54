"""Processes: worker, relay, background loops, embedded stack, and the composition root that puts each together."""
