"""The decision: charts, run state, occurrences, effects and `decide`."""
