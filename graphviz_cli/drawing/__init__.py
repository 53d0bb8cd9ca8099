"""From a graph and a style to boxes, panels and arrows."""
