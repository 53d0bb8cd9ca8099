"""The typed graph: data, operations, traversal, saved form."""
