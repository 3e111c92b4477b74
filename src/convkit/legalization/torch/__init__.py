"""Torch operators that a target lacks, written out in operators that it has: one table for every target. Worker side.

Plain torch decomposition functions (https://docs.pytorch.org/docs/stable/torch.compiler_ir.html), one family a module, that
`decompositions` collects and selects for a target. They are called with fake tensors while a program is decomposed, so that
symbolic sizes stay symbolic; one that cannot help in a case returns NotImplemented, and the operator stays what it is.
"""
