"""Rewrites of ONNX operators into simpler ones, one module a family; a new module is found by being here."""
