"""Measuring and comparing many networks: comparisons, and the tables of the paper."""
