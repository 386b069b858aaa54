"""Test clocks: creation and movement, their groups, due work and progress."""
