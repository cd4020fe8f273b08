"""A model that makes sound and images by itself, compiled for places where Python is not (docs/export.md)."""
