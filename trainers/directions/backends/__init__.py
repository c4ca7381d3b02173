"""Backends that add directions to tensors: numba on CPUs, Triton on GPUs, plain torch elsewhere."""
