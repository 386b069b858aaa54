"""Commands that send events."""
