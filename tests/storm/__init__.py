"""Kill storms and the cells of the crash matrix, for tests and `make chaos`."""
