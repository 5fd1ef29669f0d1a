"""Passes as text for a compiler: LLVM for processors, CUDA C++ for devices."""
