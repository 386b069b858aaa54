"""Read models for the API: people, runs, timelines, messages, traces."""
