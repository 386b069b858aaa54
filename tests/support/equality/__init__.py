"""Live equals memory: groups played on a test clock and in the in-memory world."""
