"""Models for places where Python is not: a web page, ONNX, a native library (docs/export.md)."""
