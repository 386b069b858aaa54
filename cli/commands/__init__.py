"""Commands, one module each with a function `command`."""
