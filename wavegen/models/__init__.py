"""Whole networks: codes in, parameters of the next code out."""
