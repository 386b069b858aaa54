"""The checker: problems of a journey or policy before it is published."""
