"""ONNX over PyTorch: `importer.py` makes the module, `backend.py` the values, `operators/` computes."""
