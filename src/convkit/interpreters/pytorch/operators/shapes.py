"""The same elements in another shape: reshaping, permuting, joining, splitting, repeating."""

from __future__ import annotations

import torch

from convkit.interpreters.declared import declared_rank, squeezed_axes
from convkit.interpreters.host import Host
from convkit.interpreters.operators import Sizes, UnsupportedError, Value
from convkit.interpreters.pytorch.sizes import known_sizes, product, sizes
from convkit.interpreters.pytorch.table import operator


def _is(size, number):
    """Whether a size is known to be a number; a symbolic one never is."""
    return isinstance(size, int) and size == number


@operator("Shape")
def shape(x, *, start=0, end=None):
    return Host.of(list(x.shape)[start:end])


@operator("Size")
def size(x):
    return Host.of(product(list(x.shape)))


@operator("Reshape")
def reshape(x, target: Value, *, allowzero=0, node):
    given = sizes(target, node)
    wanted = [x.shape[axis] if _is(given_size, 0) and not allowzero else given_size for axis, given_size in enumerate(given)]
    if any(_is(s, -1) for s in wanted) and all(isinstance(s, int) for s in [*wanted, *x.shape]):
        # torch finds no size for -1 beside a zero.
        rest = product([s for s in wanted if s != -1])
        wanted = [(product(list(x.shape)) // rest if rest else 0) if s == -1 else s for s in wanted]
    return torch.reshape(x, wanted)


@operator("Flatten")
def flatten(x, *, axis=1):
    axis = axis + x.dim() if axis < 0 else axis
    before, after = list(x.shape[:axis]), list(x.shape[axis:])
    if all(isinstance(s, int) for s in after):
        return torch.reshape(x, [product(before), product(after)])
    if all(isinstance(s, int) for s in before):
        return torch.reshape(x, [product(before), -1])
    return torch.reshape(x, [product(before), product(after)])


@operator("Transpose")
def transpose(x, *, perm=None):
    return torch.permute(x, list(perm) if perm is not None else list(range(x.dim()))[::-1])


@operator("Squeeze")
def squeeze_attribute(x, *, axes=None, node):
    return squeeze(x, axes, node=node)


@operator("Squeeze", since=13)
def squeeze(x, axes: Sizes | None = None, *, node):
    """Without axes the declared rank of the result tells which dynamic sizes are 1, where it can. Other sizes fail."""
    if axes is None:
        axes = squeezed_axes([s if isinstance(s, int) else None for s in x.shape], declared_rank(node.outputs[0]))
        if axes is None:
            raise UnsupportedError("without axes it also takes away a dynamic dimension of size 1; make that one static")
        if any(not isinstance(x.shape[axis], int) for axis in axes):
            return torch.reshape(x, [size for axis, size in enumerate(x.shape) if axis not in axes])
    for axis in sorted((int(axis) % x.dim() for axis in axes), reverse=True):
        # torch keeps an axis of another size without a word; `select` also serves a symbolic one.
        x = torch.squeeze(x, axis) if _is(x.shape[axis], 1) else torch.select(x, axis, 0)
    return x


@operator("Unsqueeze")
def unsqueeze_attribute(x, *, axes):
    return unsqueeze(x, axes)


@operator("Unsqueeze", since=13)
def unsqueeze(x, axes: Sizes):
    rank = x.dim() + len(axes)
    for axis in sorted(int(axis) % rank for axis in axes):
        x = torch.unsqueeze(x, axis)
    return x


@operator("Concat")
def concatenate(*inputs, axis):
    return torch.cat(inputs, axis)


@operator("Split")
def split_attribute(x, *, axis=0, split=None, node):
    return _split(x, split, axis, len(node.outputs))


@operator("Split", since=13)
def split(x, parts: Sizes | None = None, *, axis=0, num_outputs=None, node):
    return _split(x, parts, axis, num_outputs or len(node.outputs))


def _split(x, parts, axis, count):
    """Into parts of given sizes, or into as many of equal size, of which the last may be smaller."""
    length = x.shape[axis]
    if parts is not None:
        return tuple(torch.split(x, list(parts), axis))
    step = (length + count - 1) // count
    if isinstance(length, int):
        parts = [min(step, max(0, length - k * step)) for k in range(count)]
        return tuple(torch.split(x, parts, axis))
    ends = [(k + 1) * step if k < count - 1 else length for k in range(count)]
    return tuple(torch.ops.aten.slice.Tensor(x, axis, k * step, end) for k, end in enumerate(ends))


@operator("Expand")
def expand(x, target: Value, *, node):
    given = sizes(target, node)
    rank = max(x.dim(), len(given))
    x = x.reshape([1] * (rank - x.dim()) + list(x.shape)) if rank > x.dim() else x
    given = [1] * (rank - len(given)) + list(given)
    return x.expand([own if _is(wanted, 1) else wanted for own, wanted in zip(x.shape, given, strict=True)])


@operator("Tile")
def tile(x, repeats: Value, *, node):
    counts = known_sizes(repeats)
    if counts is None:
        whole = sizes(repeats, node) if all(isinstance(s, int) and s for s in x.shape) else None
        if whole is None:
            raise UnsupportedError("the repetitions are computed from data")
        counts = [w // s for w, s in zip(whole, x.shape, strict=True)]
    return x.repeat(counts)


@operator("DepthToSpace")
def depth_to_space(x, *, blocksize, mode="DCR"):
    """torch's pixel shuffle is the order CRD; DCR is that of permuted channels."""
    if mode == "DCR":
        x = torch.index_select(x, 1, _interleaved(x.shape[1], blocksize).t().reshape(-1))
    return torch.pixel_shuffle(x, blocksize)


@operator("SpaceToDepth")
def space_to_depth(x, *, blocksize, mode="DCR"):
    y = torch.pixel_unshuffle(x, blocksize)
    if mode == "DCR":
        y = torch.index_select(y, 1, torch.arange(y.shape[1]).reshape(-1, blocksize**2).t().reshape(-1))
    return y


def _interleaved(channels, blocksize):
    """The numbers of channels, a row per place in the block."""
    return torch.arange(channels).reshape(blocksize**2, -1)


@operator("Trilu")
def triangle(x, k: Value = None, *, upper=1):
    diagonal = 0 if k is None else known_sizes(k)
    diagonal = diagonal[0] if isinstance(diagonal, list) else k if diagonal is None else diagonal
    if isinstance(diagonal, int):
        return torch.triu(x, diagonal) if upper else torch.tril(x, diagonal)
    offsets = torch.arange(x.shape[-1]) - torch.arange(x.shape[-2]).unsqueeze(1)
    kept = torch.ge(offsets, diagonal) if upper else torch.le(offsets, diagonal)
    return torch.where(kept, x, 0)


@operator("CenterCropPad")
def center_crop_pad(x, target: Sizes, *, axes=None):
    for axis, wanted in zip(range(x.dim()) if axes is None else axes, target, strict=True):
        length = x.shape[axis]
        if not (isinstance(length, int) and isinstance(wanted, int)):
            raise UnsupportedError("a dynamic size is cropped or padded")
        missing = wanted - length
        if missing > 0:
            behind = [0, 0] * (x.dim() - 1 - axis % x.dim())
            x = torch.constant_pad_nd(x, [*behind, missing // 2, missing - missing // 2])
        elif missing < 0:
            x = torch.narrow(x, axis, -missing // 2, wanted)
    return x


@operator("ReverseSequence")
def reverse_sequence(x, lengths, *, batch_axis=1, time_axis=0):
    times = torch.arange(x.shape[time_axis])
    shape = [1] * x.dim()
    shape[time_axis] = -1
    times = times.reshape(shape)
    shape = [1] * x.dim()
    shape[batch_axis] = -1
    lengths = lengths.reshape(shape)
    return torch.gather(x, time_axis, torch.where(times < lengths, lengths - 1 - times, times).expand(x.shape))
