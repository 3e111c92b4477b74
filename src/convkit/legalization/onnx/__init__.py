"""Legalisation of ONNX models: `preparation.py` loads and simplifies, `rewriting.py` rewrites what a target cannot take."""
