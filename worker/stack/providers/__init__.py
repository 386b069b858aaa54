"""A provider of our own that behaves like the real HTTP APIs, faults included: nothing that is sent here reaches anybody."""
