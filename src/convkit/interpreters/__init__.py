"""Interpreters of ONNX graphs over a framework's operators, to be traced by that framework. Worker side.

An importer is an interpreter that is traced: `torch.export` traces the PyTorch one into an exported program, `tf.function`
the TensorFlow one into a concrete function. One registered function an operator, one file an operator family.
"""
