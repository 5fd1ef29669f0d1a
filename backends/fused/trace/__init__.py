"""Traced laws: the expression graph of a law, the passes over memory made of it, and the bytes that they move."""
