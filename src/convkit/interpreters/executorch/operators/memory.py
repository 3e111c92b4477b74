"""Copies, views and dimension orders.

The orders in which memory holds the axes are ExecuTorch's matter: tensors are in their logical order here, and a copy into
another order is the tensor itself (a copy into another dtype is cast by whoever writes it).
"""

from __future__ import annotations

import torch

from convkit.interpreters.executorch.kernels import kernel


@kernel("dim_order_ops::_to_dim_order_copy.out", read=(0,), write=(3,))
@kernel("dim_order_ops::_clone_dim_order.out", read=(0,), write=(3,))
@kernel("aten::_to_copy.out", read=(0,), write=(3,))
@kernel("aten::clone.out", read=(0,), write=(2,))
@kernel("aten::lift_fresh_copy.out", "aten::alias_copy.out", "aten::detach_copy.out", read=(0,), write=(1,))
def copy(tensor):
    return tensor


@kernel("dim_order_ops::_empty_dim_order.out", read=(0,), write=(2,))
@kernel("aten::empty.out", read=(0,), write=(2,))
def empty(sizes):
    """Memory of unknown content: zeros are as good."""
    return torch.zeros(sizes)


@kernel("executorch_prim::et_view.default", "aten::view_copy.out", "aten::_unsafe_view.out", read=(0, 1), write=(2,))
def view(tensor, sizes):
    return tensor.reshape(sizes)


@kernel("aten::as_strided_copy.out", read=(0, 1, 2, 3), write=(4,))
def as_strided(tensor, sizes, strides, offset):
    return tensor.contiguous().as_strided(sizes, strides, offset)


@kernel("aten::copy_", read=(1,), write=(0,), after=0)
def overwrite(previous, source):
    return source if previous is None or previous.shape == source.shape else source.expand(previous.shape)


@kernel("aten::copy.out", read=(0, 1), write=(3,))
def broadcast(tensor, source):
    return source.expand(tensor.shape)


@kernel("executorch_prim::et_copy_index.tensor", read=(1, 2), write=(0,), after=0)
def stacked(rows, row, index):
    """Appends one round of a loop to what the rounds before have stacked."""
    row = row.unsqueeze(0)
    return row if index == 0 else torch.cat([rows[:index], row])
