"""The in-app inbox: items, checklists and their listener."""
