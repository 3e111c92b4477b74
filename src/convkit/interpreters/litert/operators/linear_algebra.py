"""Products of matrices."""

from __future__ import annotations

import torch
from torch.nn import functional

from convkit.interpreters.litert.table import Arithmetic, operator


def _plain_weights(node):
    """Refuses weights that are shuffled for one kernel."""
    weights_format = node.options.get("weights_format", "DEFAULT")
    return None if weights_format == "DEFAULT" else f"weights in the format {weights_format}"


@operator("FULLY_CONNECTED", arithmetic=Arithmetic.ACCUMULATED, accepts=_plain_weights)
def fully_connected(x, w, b=None, *, weights_format="DEFAULT", keep_num_dims=False, asymmetric_quantize_inputs=False):
    units = w.shape[1]
    if not keep_num_dims and (x.dim() != 2 or x.shape[-1] != units):
        x = x.reshape(-1, units)
    return functional.linear(x, w, b)


@operator("BATCH_MATMUL", arithmetic=Arithmetic.ACCUMULATED)
def batch_matmul(x, y, *, adj_x=False, adj_y=False, asymmetric_quantize_inputs=False):
    return torch.matmul(x.transpose(-1, -2) if adj_x else x, y.transpose(-1, -2) if adj_y else y)
