"""Printers: they write a pass over memory as source text, LLVM IR for processors and CUDA C++ for CUDA devices."""
