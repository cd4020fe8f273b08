"""The engines for a GPU: a Triton kernel, and the reference recorded as a CUDA graph."""
