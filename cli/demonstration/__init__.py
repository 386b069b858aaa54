"""The parts of `python -m cli demo`: months of real purchases played in about two minutes, and the proof that they add up."""
