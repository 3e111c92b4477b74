"""What an operator does, whatever a format calls it."""

from __future__ import annotations

import re

from convkit.traces import TracedOperator

__all__ = ["ARRANGING", "family_of", "kind_of"]

ARRANGING = frozenset({"reshape", "transpose", "identity"})
"""Kinds that change no value."""

# The spellings of the formats, without case and punctuation, and what they mean; the first that fits counts.
_KINDS = (
    ("resize|upsample|interpolate", "resize"),  # before "linear": bilinear
    ("convtranspose|transposeconv|convolutiontranspose|conv2dbackpropinput", "transposed convolution"),
    ("conv", "convolution"),
    ("fullyconnected|batchmatmul|matmul|gemm|linear|addmm|bmm|^mm|einsum|fusedmatmul", "matrix product"),
    ("logsoftmax", "log softmax"),
    ("softmax", "softmax"),
    ("layernorm", "layer norm"),
    ("batchnorm", "batch norm"),
    ("instancenorm", "instance norm"),
    ("groupnorm", "group norm"),
    ("rmsnorm", "rms norm"),
    ("gelu", "gelu"),
    ("leakyrelu", "leaky relu"),
    ("relu6", "relu6"),
    ("prelu", "prelu"),
    ("^relu", "relu"),
    ("hardsigmoid", "hard sigmoid"),
    ("hardswish", "hard swish"),
    ("sigmoid|logistic", "sigmoid"),
    ("tanh", "tanh"),
    ("erf", "erf"),
    ("silu|swish", "silu"),
    ("maxpool", "max pool"),
    ("averagepool|avgpool", "average pool"),
    ("reducemean|^mean", "mean"),
    ("reducesum|^sum", "sum"),
    ("reducemax|^amax", "max over axes"),
    ("lstm", "lstm"),
    ("gru", "gru"),
    ("pad", "pad"),
    ("concat|^cat", "concatenation"),
    ("gathernd", "gather by coordinates"),
    ("gather|embedding|indexselect|^select|resourcegather", "gather"),
    ("slice|narrow", "slice"),
    ("split|chunk|unpack|unstack", "split"),
    ("transpose|permute", "transpose"),
    ("reshape|view|flatten|squeeze|expanddims", "reshape"),
    ("quantize", "quantize"),
    ("cast|tocopy|^to", "cast"),
    ("^add|biasadd", "add"),
    ("^sub|^rsub", "subtract"),
    ("^mul", "multiply"),
    ("^div|realdiv|truediv", "divide"),
    ("^pow", "power"),
    ("^exp", "exp"),
    ("^log", "log"),
    ("rsqrt", "reciprocal square root"),
    ("sqrt", "square root"),
    ("^neg", "negate"),
    ("^clip|clamp|hardtanh", "clip"),
    ("where|^select", "where"),
)


def kind_of(operator: str) -> str:
    """One word for an operator: "convolution" for `Conv`, `aten.conv2d.default`, `CONV_2D`, `Conv2D`; else its own, plain."""
    name = operator.rsplit("::", 1)[-1].lower()
    if name.startswith(("aten.", "prims.", "torchvision.")):
        name = name.split(".")[1]
    plain = re.sub("[^a-z0-9]", "", name)
    return next((kind for pattern, kind in _KINDS if re.search(pattern, plain)), plain)


def family_of(operator: TracedOperator) -> str:
    """The kind of an operator; where converters turn one kind into another by its constant, that of both."""
    kind = kind_of(operator.operator)
    return {"divide": "multiply", "subtract": "add"}.get(kind, kind)
