"""A model for places without wavegen: files that other programs run."""
