"""Checks: a graph in, findings out; one file each, and its docstring is its help."""
