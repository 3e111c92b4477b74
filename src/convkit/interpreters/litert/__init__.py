"""LiteRT's flatbuffer as a PyTorch module that torch.export traces.

`model` reads the file, `constants` its weights, `folding` computes what depends on weights alone, `interpreter` walks a subgraph,
`module` is what is traced; `operators` has one file an operator family.
"""
