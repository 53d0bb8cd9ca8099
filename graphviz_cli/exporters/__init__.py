"""Exporters: a graph in, bytes out; they open no file."""
