"""What changes shapes and moves no values out of order."""

from __future__ import annotations

import torch

from convkit.interpreters.litert.table import Arithmetic, operator
from convkit.interpreters.operators import Known, Sizes, UnsupportedError, Value

_MOVES = Arithmetic.LEVELS


@operator("RESHAPE", arithmetic=_MOVES)
def reshape(x, shape: Value = None, *, new_shape=None, node):
    return x.reshape(_reshaped(node, shape, new_shape))


def _reshaped(node, shape, new_shape):
    """The sizes that a RESHAPE states, by its second input, or by its options where it has none."""
    known = None if shape is None else node.interpreter.known(shape)
    if known is not None:
        return known.sizes()
    if shape is not None and node.output.is_static:
        return list(node.output.shape)
    if shape is None and new_shape is not None:
        return [int(size) for size in new_shape]
    return node.sizes_of(shape)


@operator("SQUEEZE", arithmetic=_MOVES)
def squeeze(x, *, squeeze_dims=()):
    axes = [a % x.dim() for a in squeeze_dims] or [a for a, size in enumerate(x.shape) if isinstance(size, int) and size == 1]
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in axes])


@operator("EXPAND_DIMS", arithmetic=_MOVES)
def expand_dims(x, axis: Known):
    return x.unsqueeze(int(axis.reshape(-1)[0]))


@operator("TRANSPOSE", arithmetic=_MOVES)
def transpose(x, axes: Known):
    return x.permute([int(a) for a in axes])


@operator("CONCATENATION", arithmetic=_MOVES, elementwise=True)
def concatenate(*parts, axis=0, order=None):
    return torch.cat(parts, _position(axis, parts[0].dim(), order))


def _position(axis, rank, order):
    """Where an axis of the file stands in an order of axes."""
    return axis % rank if order is None else order.index(axis % rank)


@operator("PACK", arithmetic=_MOVES)
def pack(*parts, axis=0, values_count=0):
    return torch.stack(parts, axis)


@operator("UNPACK", arithmetic=_MOVES)
def unpack(x, *, axis=0, num=0):
    return x.unbind(axis)


@operator("SPLIT", arithmetic=_MOVES)
def split(axis: Known, x, *, num_splits=0):
    axis = int(axis.reshape(-1)[0]) % x.dim()
    return x.split(x.shape[axis] // num_splits, axis)


@operator("SPLIT_V", arithmetic=_MOVES)
def split_sizes(x, sizes: Sizes, axis: Known, *, num_splits=0):
    axis = int(axis.reshape(-1)[0]) % x.dim()
    rest = x.shape[axis] - sum(size for size in sizes if size != -1)
    return x.split([rest if isinstance(size, int) and size == -1 else size for size in sizes], axis)


@operator("TILE", arithmetic=_MOVES)
def tile(x, repeats: Sizes):
    return x.repeat(repeats)


@operator("BROADCAST_TO", arithmetic=_MOVES)
def broadcast_to(x, shape: Sizes):
    return x.expand(shape)


@operator("REVERSE_V2", arithmetic=_MOVES)
def reverse(x, axes: Known):
    return x.flip([int(a) % x.dim() for a in axes.reshape(-1)])


@operator("FILL", arithmetic=_MOVES)
def fill(shape: Sizes, value):
    return value.expand(shape)


@operator("SPACE_TO_DEPTH", arithmetic=_MOVES)
def space_to_depth(x, *, block_size=0):
    n, height, width, channels = x.shape
    block = block_size
    blocks = x.reshape(n, height // block, block, width // block, block, channels).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, height // block, width // block, block * block * channels)


@operator("DEPTH_TO_SPACE", arithmetic=_MOVES)
def depth_to_space(x, *, block_size=0):
    n, height, width, channels = x.shape
    block, depth = block_size, channels // (block_size * block_size)
    blocks = x.reshape(n, height, width, block, block, depth).permute(0, 1, 3, 2, 4, 5)
    return blocks.reshape(n, height * block, width * block, depth)


@operator("SPACE_TO_BATCH_ND")
def space_to_batch(x, blocks: Known, paddings: Known):
    blocks = [int(b) for b in blocks]
    pads = [(int(a), int(b)) for a, b in paddings]
    rank = len(blocks)
    rest = list(x.shape[1 + rank :])
    flat = [p for pair in reversed([*pads, *[(0, 0)] * len(rest)]) for p in pair]
    x = torch.nn.functional.pad(x, flat)
    sizes = [size // block for size, block in zip(x.shape[1 : 1 + rank], blocks, strict=True)]
    split_axes = [n for pair in zip(sizes, blocks, strict=True) for n in pair]
    x = x.reshape([x.shape[0], *split_axes, *rest])
    order = [2 + 2 * k for k in range(rank)] + [0] + [1 + 2 * k for k in range(rank)]
    x = x.permute(order + list(range(1 + 2 * rank, 1 + 2 * rank + len(rest))))
    return x.flatten(0, rank)


@operator("BATCH_TO_SPACE_ND", arithmetic=_MOVES)
def batch_to_space(x, blocks: Known, crops: Known):
    blocks = [int(b) for b in blocks]
    rank = len(blocks)
    sizes, rest = list(x.shape[1 : 1 + rank]), list(x.shape[1 + rank :])
    batch = x.shape[0]
    for block in blocks:
        batch = batch // block
    x = x.reshape([*blocks, batch, *sizes, *rest])
    order = [rank] + [axis for k in range(rank) for axis in (rank + 1 + k, k)]
    x = x.permute(order + list(range(1 + 2 * rank, 1 + 2 * rank + len(rest))))
    x = x.reshape([batch, *(s * b for s, b in zip(sizes, blocks, strict=True)), *rest])
    for axis, (begin, end) in enumerate(crops, 1):
        if begin or end:
            x = x.narrow(axis, int(begin), x.shape[axis] - int(begin) - int(end))
    return x


@operator("SHAPE", "RANK", foldable=False)
def shape(x: Value, *, out_type="FLOAT32"):
    # Of every tensor these are known while tracing, and computed at once by the interpreter.
    raise UnsupportedError("of a variable's handle")
