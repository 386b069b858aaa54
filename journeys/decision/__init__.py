"""The decision of a run: compiled chart, state, occurrences, effects and `decide`."""
