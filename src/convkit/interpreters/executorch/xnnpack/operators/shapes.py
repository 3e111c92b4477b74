"""Transposing, reshaping, slicing, padding, concatenating."""

from __future__ import annotations

import torch
import torch.nn.functional as functional

from convkit.interpreters.executorch.xnnpack.layout import Laid, aligned
from convkit.interpreters.executorch.xnnpack.table import node


@node("StaticTranspose")
def transpose(node, input):
    return input.transposed(node["perm"])


@node("StaticReshape")
def reshape(node, input):
    """A size of 0 is the one that is left."""
    return Laid.plain(input.value.reshape([size or -1 for size in node["new_shape"]]))


@node("StaticSlice")
def slice_(node, input, *, sizes):
    """Where the slice is a whole axis, it is so at any size."""
    x = input.tensor
    for axis, (offset, size, whole) in enumerate(zip(node["offsets"], node["sizes"], sizes, strict=True)):
        if offset or (size and size != whole):
            x = torch.narrow(x, input.order[axis], offset, size or whole - offset)
    return input.with_tensor(x)


@node("StaticConstantPad")
def pad(node, input):
    amounts = [0] * (2 * len(input.order))
    for axis, (before, after) in enumerate(zip(node["pre_paddings"], node["post_paddings"], strict=True)):
        last = len(input.order) - 1 - input.order[axis]
        amounts[2 * last : 2 * last + 2] = before, after
    while amounts[-2:] == [0, 0]:
        del amounts[-2:]
    return input.with_tensor(functional.pad(input.tensor, amounts, value=node["padding_value"]))


@node("Concatenate2", "Concatenate3", "Concatenate4", "Concatenate5")
def concatenate(node, input1, input2, input3=None, input4=None, input5=None):
    tensors, order = aligned([i for i in (input1, input2, input3, input4, input5) if i is not None])
    return Laid(torch.cat(tensors, order[node["axis"]]), order)
