"""The step of a run: decision, projection and first delivery attempt in one activity."""
