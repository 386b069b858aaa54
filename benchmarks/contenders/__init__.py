"""Contenders: Tenure's runs and hand-written Temporal workflows, under one load."""
