"""Frames that condition a network beside its codes: what they are, and how they are taken of a recording."""
