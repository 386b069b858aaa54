"""The composition root: settings become the objects of each process."""
