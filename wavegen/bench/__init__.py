"""How fast this machine trains and generates: things that do the same, timed in turn within one run.

Speeds of one run can be compared with each other; between runs a shared machine may have changed.
"""
