"""The decision, pure: `decide`, charts, run state, occurrences and effects."""
