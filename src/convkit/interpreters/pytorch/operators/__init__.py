"""The ONNX operators in PyTorch, one module a family; a new module is found by being here."""
