"""A law written down: the graph of one leaf, the passes that it makes, the memory that they move."""
