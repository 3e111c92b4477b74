"""Other shapes of the same elements: reshaping, transposing, joining and parting, repeating."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from convkit.interpreters.declared import declared_rank, squeezed_axes
from convkit.interpreters.host import DataDependentError
from convkit.interpreters.operators import Known, UnsupportedError, Value
from convkit.interpreters.tensorflow.backend import Size
from convkit.interpreters.tensorflow.layout import channels_first, channels_last
from convkit.interpreters.tensorflow.sizes import as_sizes, is_static, product, rank_of, shape_tensor, size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator
from convkit.interpreters.tensorflow.transposed import Transposed, expanded, plain, squeezed


@operator("Reshape", since=5)
def reshape(x, shape: Value, *, allowzero=0, node):
    """0 copies the dimension of the same position, -1 takes what is left."""
    return tf.reshape(x, shape_tensor(wanted_sizes(shape, sizes_of(x), bool(allowzero), node)))


def wanted_sizes(shape: Value, own: list[Any], allowzero: bool, node: Any) -> list[Any]:
    """What a tensor of the sizes `own` is reshaped to; -1 where only TensorFlow finds out."""
    wanted, from_data = as_sizes(shape), isinstance(shape, tf.Tensor)
    if wanted and own and _keeps_batch(node):
        wanted[0] = own[0]  # not that of another tensor, or a -1: so it is told that nothing moves between samples
    sizes = wanted if allowzero else [_copied(size, position, own, from_data) for position, size in enumerate(wanted)]
    if any(not isinstance(size, Size) and size == -1 for size in sizes):
        sizes = _with_rest(sizes, own)
    return sizes


def _keeps_batch(node):
    """Whether inference found that the first axis stays."""
    before, after = (None if v.shape is None or not len(v.shape) else v.shape[0] for v in (node.inputs[0], node.outputs[0]))
    return getattr(before, "value", None) not in (None, "?") and before == after


def _copied(size, position, own, from_data):
    if not isinstance(size, Size):
        return own[position] if size == 0 else size
    if not from_data or position >= len(own):
        return size
    return Size(tf.where(tf.equal(size.tensor, 0), size_tensor(own[position]), size.tensor))


def _with_rest(sizes, own):
    """The shape with the number behind its -1, where the dynamic sizes are the same on both sides."""
    total, others = product(own), product(size for size in sizes if isinstance(size, Size) or size != -1)
    if _roots(total) != _roots(others):
        return sizes
    here, there = (size.factor if isinstance(size, Size) else size for size in (total, others))
    rest = here // there if there else 0
    return [rest if not isinstance(size, Size) and size == -1 else size for size in sizes]


def _roots(size):
    return [id(root) for root in size.roots] if isinstance(size, Size) else []


@operator("Flatten")
def flatten(x, *, axis=1):
    sizes = sizes_of(x)
    axis = axis + len(sizes) if axis < 0 else axis
    return tf.reshape(x, shape_tensor([product(sizes[:axis]), product(sizes[axis:])]))


@operator("Transpose")
def transpose(x, *, perm=None):
    """Between channels first and last it waits: a convolution may follow, or came before."""
    rank = rank_of(x)
    perm = list(perm) if perm is not None else list(reversed(range(rank)))
    if rank > 2 and perm in ([0, rank - 1, *range(1, rank - 1)], [0, *range(2, rank), 1]):
        return Transposed(x, tuple(perm.index(axis) for axis in range(rank)))
    return tf.transpose(x, perm)


@operator("Squeeze")
def squeeze_of_attribute(x, *, axes=None, node):
    return _squeeze(x, axes, node)


@operator("Squeeze", since=13)
def squeeze(x, axes: Known = None, *, node):
    return _squeeze(x, None if axes is None else axes.flat, node)


def _squeeze(x, axes, node):
    """Without axes the declared rank of the result tells which dynamic sizes are 1, where it can. Other sizes fail."""
    if axes is None:
        chosen = squeezed_axes(x.shape.as_list(), declared_rank(node.outputs[0]))
        if chosen is None:
            raise DataDependentError("which dimensions are 1 is not known")
    else:
        rank = rank_of(x)
        chosen = sorted({int(axis) % rank for axis in axes})
    if any(x.shape[axis] is None for axis in chosen):
        # LiteRT's converter makes "-1" of a dynamic size in a SQUEEZE: another size than 1 would get into another axis.
        return tf.reshape(plain(x), shape_tensor([size for axis, size in enumerate(sizes_of(x)) if axis not in chosen]))
    return squeezed(x, chosen) if chosen else x


@operator("Unsqueeze")
def unsqueeze_of_attribute(x, *, axes):
    return _unsqueeze(x, axes)


@operator("Unsqueeze", since=13)
def unsqueeze(x, axes: Known):
    return _unsqueeze(x, axes.flat)


def _unsqueeze(x, axes):
    axes = [int(axis) for axis in axes]
    rank = rank_of(x) + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = expanded(x, axis)
    return x


@operator("Concat", since=4)
def concat(*tensors, axis):
    return tf.concat(tensors, axis % rank_of(tensors[0]))


@operator("Split")
def split_of_attribute(x, *, axis=0, split=None, node):
    return _split(x, axis, split, len(node.outputs))


@operator("Split", since=13)
def split(x, sizes: Value = None, *, axis=0, num_outputs=None, node):
    return _split(x, axis, None if sizes is None else as_sizes(sizes), num_outputs or len(node.outputs))


def _split(x, axis, sizes, count):
    """Into equal parts where no sizes are given; the last one is smaller where the dimension is no multiple."""
    axis %= rank_of(x)
    if sizes is None:
        total = sizes_of(x)[axis]
        part = -(-total // count)
        sizes = [part] * (count - 1) + [total - part * (count - 1)]
    if is_static(sizes):
        return tuple(tf.split(x, [int(size) for size in sizes], axis))
    return tuple(tf.split(x, shape_tensor(sizes), axis, num=len(sizes)))


@operator("Expand")
def expand(x, shape: Value):
    """Both shapes broadcast: where the wanted size is 1 the tensor's own stays."""
    own, wanted = sizes_of(x), as_sizes(shape)
    rank = max(len(own), len(wanted))
    own, wanted = ([1] * (rank - len(sizes)) + list(sizes) for sizes in (own, wanted))
    return tf.broadcast_to(x, shape_tensor([_broadcast(a, b) for a, b in zip(own, wanted, strict=True)]))


def _broadcast(own, wanted):
    if not isinstance(own, Size) and not isinstance(wanted, Size):
        if 1 not in (own, wanted) and own != wanted:
            raise UnsupportedError(f"sizes {own} and {wanted} do not broadcast")
        return wanted if own == 1 else own
    if not isinstance(own, Size):
        return wanted if own == 1 else own
    if not isinstance(wanted, Size):
        return own if wanted == 1 else wanted
    return own if own is wanted else Size(tf.where(tf.equal(own.tensor, 1), wanted.tensor, own.tensor))


@operator("Tile", since=6)
def tile(x, repeats: Value):
    if x.dtype == tf.uint16:  # the one dtype of ONNX's that TensorFlow's kernel lacks
        x = tf.cast(x, tf.int32)
    return tf.tile(x, shape_tensor(as_sizes(repeats)))


@operator("DepthToSpace")
def depth_to_space(x, *, blocksize, mode="DCR"):
    n, c, h, w = sizes_of(x)
    block, channels = blocksize, c // (blocksize * blocksize)
    if isinstance(x, Transposed):
        y = channels_last(x)
        if mode == "CRD":
            y = _channels_grouped(y, channels, block * block)
        return channels_first(tf.nn.depth_to_space(y, block), 2)
    blocks_first = mode == "DCR"
    parts = (block, block, channels) if blocks_first else (channels, block, block)
    spread = tf.reshape(x, shape_tensor([n, *parts, h, w]))
    spread = tf.transpose(spread, (0, 3, 4, 1, 5, 2) if blocks_first else (0, 1, 4, 2, 5, 3))
    return tf.reshape(spread, shape_tensor([n, channels, h * block, w * block]))


def _channels_grouped(x, before, after):
    """Channels that are numbered (before, after) numbered the other way round; the channels come last."""
    sizes = sizes_of(x)
    swapped = tf.transpose(tf.reshape(x, [-1, before, after]), [0, 2, 1])
    return tf.reshape(swapped, shape_tensor(sizes))


@operator("SpaceToDepth")
def space_to_depth(x, *, blocksize, mode="DCR"):
    n, c, h, w = sizes_of(x)
    if isinstance(x, Transposed):
        y = tf.nn.space_to_depth(channels_last(x), blocksize)
        return channels_first(_channels_grouped(y, blocksize * blocksize, c) if mode == "CRD" else y, 2)
    parts = tf.reshape(x, shape_tensor([n, c, h // blocksize, blocksize, w // blocksize, blocksize]))
    order = (0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)
    sizes = [n, c * (blocksize * blocksize), h // blocksize, w // blocksize]
    return tf.reshape(tf.transpose(parts, order), shape_tensor(sizes))


@operator("Trilu")
def trilu(x, k: Value = None, *, upper=1):
    """The elements on one side of a diagonal, zeros elsewhere."""
    shift = 0 if k is None else size_tensor(as_sizes(k)[0])
    rows, columns = (tf.range(size_tensor(size)) for size in sizes_of(x)[-2:])
    diagonal = rows[:, None] + shift
    kept = columns[None, :] >= diagonal if upper else columns[None, :] <= diagonal
    return tf.where(kept, x, tf.zeros([], x.dtype))


@operator("ReverseSequence")
def reverse_sequence(x, lengths, *, batch_axis=1, time_axis=0):
    return tf.reverse_sequence(x, lengths, seq_axis=time_axis, batch_axis=batch_axis)


@operator("Shape")
def shape_of(x, *, start=0, end=None):
    return tf.cast(shape_tensor(sizes_of(x)[start:end]), tf.int64)


@operator("Size")
def size_of(x):
    return tf.cast(size_tensor(product(sizes_of(x))), tf.int64)
