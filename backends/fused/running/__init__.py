"""Passes compiled, and run over tables of leaves by threads or on a device."""
