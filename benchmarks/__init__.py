"""What it costs: ours against the same thing written by hand on plain Temporal, side by side in interleaved runs."""
