"""Local provider: simulates the HTTP APIs of vendors, faults included; nothing sent to it reaches a person."""
