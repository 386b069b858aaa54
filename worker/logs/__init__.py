"""Log output: configuration, tracebacks without values, redaction, and repeated errors."""
