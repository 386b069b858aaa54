"""The parts of `python -m cli demo`: months of real purchases played in a minute and a half, and the proof that they add up."""
