"""What is compared: our runs and hand-written Temporal workflows, under one load."""
