"""Transforms: a graph in, a smaller or plainer graph out."""
