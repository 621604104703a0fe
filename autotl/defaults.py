"""Defaults that the Python interface and the command line share."""

BUDGET_SECONDS = 600.0
SEED = 0
VIEWS = 4
