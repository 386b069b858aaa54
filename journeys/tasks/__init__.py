"""Tasks, pure: teams, their hours and the assignment of a task to a person."""
