"""StableHLO operators that converters leave in LiteRT files."""

from __future__ import annotations

import torch

from convkit.interpreters.litert.table import Arithmetic, operator
from convkit.interpreters.operators import UnsupportedError

_UNARY = {
    "ABS": torch.abs, "COSINE": torch.cos, "EXPONENTIAL": torch.exp, "FLOOR": torch.floor, "LOG": torch.log,
    "NEGATE": torch.neg, "RSQRT": torch.rsqrt,
}  # fmt: skip
_BINARY = {
    "ADD": torch.add, "AND": torch.bitwise_and, "DIVIDE": None, "MAXIMUM": torch.maximum, "MINIMUM": torch.minimum,
    "MULTIPLY": torch.mul, "OR": torch.bitwise_or, "POWER": torch.pow, "REMAINDER": torch.fmod,
    "SHIFT_LEFT": torch.bitwise_left_shift, "SUBTRACT": torch.sub,
}  # fmt: skip
_COMPARISONS = {"EQ": torch.eq, "NE": torch.ne, "GE": torch.ge, "GT": torch.gt, "LE": torch.le, "LT": torch.lt}


def _divide(x, y):
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _unary(function):
    return lambda x: function(x)


def _binary(function):
    return lambda x, y: function(x, y)


for _name, _function in _UNARY.items():
    operator(f"STABLEHLO_{_name}", elementwise=True)(_unary(_function))
for _name, _function in _BINARY.items():
    operator(f"STABLEHLO_{_name}", elementwise=True)(_binary(_function or _divide))


@operator("STABLEHLO_CBRT", elementwise=True)
def cube_root(x):
    return torch.sign(x) * torch.pow(torch.abs(x), 1 / 3)


@operator("STABLEHLO_COMPARE", elementwise=True)
def compare(x, y, *, comparison_direction="EQ", compare_type=0):
    direction = comparison_direction.rsplit("_", 1)[-1]
    return _COMPARISONS[direction](x, y)


@operator("STABLEHLO_SELECT")
def select(condition, x, y):
    return torch.where(condition, x, y)


@operator("STABLEHLO_CLAMP")
def clamp(low, x, high):
    return torch.minimum(torch.maximum(x, low), high)


@operator("STABLEHLO_CONVERT")
def convert(x):
    return x


@operator("STABLEHLO_RESHAPE")
def reshape(x, *, node):
    if not node.output.is_static:
        raise UnsupportedError("to a dynamic shape")
    return x.reshape(node.output.shape)


@operator("STABLEHLO_TRANSPOSE")
def transpose(x, *, permutation=()):
    return x.permute(list(permutation))


@operator("STABLEHLO_CONCATENATE")
def concatenate(*parts, dimension=0):
    return torch.cat(parts, dimension)


@operator("STABLEHLO_BROADCAST_IN_DIM")
def broadcast_in_dim(x, *, broadcast_dimensions=(), node):
    shape = list(node.output.shape)
    sizes = [1] * len(shape)
    for axis, position in enumerate(broadcast_dimensions):
        sizes[position] = x.shape[axis]
    return x.reshape(sizes).expand(shape)


@operator("STABLEHLO_SLICE")
def slice_(x, *, start_indices=(), limit_indices=(), strides=()):
    for axis, (start, limit, stride) in enumerate(zip(start_indices, limit_indices, strides, strict=True)):
        x = torch.ops.aten.slice.Tensor(x, axis, start, limit, stride)
    return x


@operator("STABLEHLO_IOTA")
def iota(*, iota_dimension=0, node):
    from convkit.interpreters.litert.values import torch_dtype

    shape = list(node.output.shape)
    line = torch.arange(shape[iota_dimension], dtype=torch_dtype(node.output.dtype))
    return line.reshape([-1 if axis == iota_dimension else 1 for axis in range(len(shape))]).expand(shape)


@operator("STABLEHLO_DYNAMIC_SLICE")
def dynamic_slice(x, *starts, slice_sizes=()):
    for axis, (start, size) in enumerate(zip(starts, slice_sizes, strict=True)):
        if size != x.shape[axis]:
            rows = torch.arange(size) + torch.clamp(start.reshape(()), 0, x.shape[axis] - size)
            x = x.index_select(axis, rows.to(torch.int64))
    return x


@operator("STABLEHLO_PAD")
def pad(x, value, *, edge_padding_low=(), edge_padding_high=(), interior_padding=()):
    if any(interior_padding) or min([*edge_padding_low, *edge_padding_high], default=0) < 0:
        raise UnsupportedError("padding inside, or less than none")
    pads = [p for pair in zip(edge_padding_low[::-1], edge_padding_high[::-1], strict=True) for p in pair]
    inside = torch.nn.functional.pad(torch.ones_like(x, dtype=torch.bool), pads)
    return torch.where(inside, torch.nn.functional.pad(x, pads), value)


@operator("STABLEHLO_DOT_GENERAL", arithmetic=Arithmetic.REAL)
def dot_general(
    x, y, *, lhs_batching_dimensions=(), rhs_batching_dimensions=(), lhs_contracting_dimensions=(),
    rhs_contracting_dimensions=(), precision_config=(),
):  # fmt: skip
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    left = [next(letters) for _ in range(x.dim())]
    right = [next(letters) for _ in range(y.dim())]
    for mine, theirs in (
        (lhs_batching_dimensions, rhs_batching_dimensions),
        (lhs_contracting_dimensions, rhs_contracting_dimensions),
    ):
        for a, b in zip(mine, theirs, strict=True):
            right[b] = left[a]
    batch = [left[a] for a in lhs_batching_dimensions]
    summed = {left[a] for a in lhs_contracting_dimensions}
    rest = [v for v in left if v not in batch and v not in summed] + [v for v in right if v not in batch and v not in summed]
    return torch.einsum(f"{''.join(left)},{''.join(right)}->{''.join([*batch, *rest])}", x, y)


@operator("STABLEHLO_GATHER")
def gather(
    x, starts, *, offset_dims=(), collapsed_slice_dims=(), start_index_map=(), index_vector_dim=0, slice_sizes=(),
    indices_are_sorted=False,
):  # fmt: skip
    if index_vector_dim == starts.dim():
        starts = starts.unsqueeze(-1)
    elif index_vector_dim != starts.dim() - 1:
        starts = starts.movedim(index_vector_dim, -1)
    batch = list(starts.shape[:-1])
    flat = starts.reshape(-1, starts.shape[-1]).to(torch.int64)
    # One index tensor per axis: the start, clamped so that the slice fits, plus the offset inside of the slice.
    kept = [axis for axis in range(x.dim()) if axis not in collapsed_slice_dims]
    places = []
    for axis in range(x.dim()):
        start = torch.zeros_like(flat[:, 0])
        if axis in start_index_map:
            start = torch.clamp(flat[:, list(start_index_map).index(axis)], 0, x.shape[axis] - slice_sizes[axis])
        start = start.reshape([-1, *[1] * len(kept)])
        if axis in kept:
            inside = torch.arange(slice_sizes[axis]).reshape([-1 if k == axis else 1 for k in kept])
            start = start + inside
        places.append(start)
    found = x[tuple(places)].reshape([*batch, *(slice_sizes[a] for a in kept)])
    rank = len(batch) + len(kept)
    others = iter([axis for axis in range(rank) if axis not in offset_dims])
    source: list[int] = [0] * rank
    for position in range(len(batch)):
        source[next(others)] = position
    for position, axis in enumerate(offset_dims):
        source[axis] = len(batch) + position
    return found.permute(source)
