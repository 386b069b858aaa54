"""Command line, `python -m cli`: commands, and what they share."""
