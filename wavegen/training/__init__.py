"""The training loop, and what a run folder holds."""
