"""The engine for the CPU: one step of a WaveNet, compiled by numba. No torch."""
