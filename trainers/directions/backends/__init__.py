"""Where directions are added to tensors: numba on CPUs, Triton on GPUs, torch elsewhere."""
