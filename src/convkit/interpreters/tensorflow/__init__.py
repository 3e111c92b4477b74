"""ONNX over TensorFlow: `importer.py` makes the function, `backend.py` the values, `operators/` computes."""
