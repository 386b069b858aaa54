"""Local provider: simulated HTTP APIs of vendors, faults included."""
