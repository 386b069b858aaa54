"""The command line for people: every command is a module here with a function `command`."""
