"""The ONNX operators in TensorFlow, one module a family; a new module is found by being here."""
