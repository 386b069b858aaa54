"""Inbound events, pure: Segment shapes, the tracking plan, tracing and the feed."""
