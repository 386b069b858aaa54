"""Names and shapes on the wire."""
