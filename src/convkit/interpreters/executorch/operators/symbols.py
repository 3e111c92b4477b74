"""Arithmetic on sizes: `executorch_prim` operators on numbers that are symbolic while tracing."""

from __future__ import annotations

import math
import operator

import torch

from convkit.interpreters.executorch.kernels import kernel

for name, function in {
    "add": operator.add,
    "sub": operator.sub,
    "mul": operator.mul,
    "floordiv": operator.floordiv,
    "truediv": operator.truediv,
    "mod": operator.mod,
    "eq": operator.eq,
    "gt": operator.gt,
    "lt": operator.lt,
    "ge": operator.ge,
    "le": operator.le,
    "neg": operator.neg,
    "ceil": math.ceil,
    "round": round,
    "trunc": math.trunc,
    "sym_float": torch.sym_float,
    "sym_int": torch.sym_int,
    "sym_max": torch.sym_max,
    "sym_min": torch.sym_min,
    "sym_not": torch.sym_not,
    "sym_ite": torch.sym_ite,
}.items():
    kernel(f"executorch_prim::{name}.Scalar", f"executorch_prim::{name}.int")(function)


@kernel("aten::sym_size.int")
def size(tensor, axis):
    return tensor.shape[axis]


@kernel("aten::sym_stride.int")
def stride(tensor, axis):
    return math.prod(tensor.shape[axis % tensor.ndim + 1 :])


@kernel("aten::sym_numel", "aten::sym_numel.default")
def element_count(tensor):
    return tensor.numel()


@kernel("aten::_local_scalar_dense", "aten::_local_scalar_dense.default")
def item(tensor):
    return tensor.item()


@kernel(
    "aten::sym_constrain_range",
    "aten::sym_constrain_range_for_size",
    "aten::_assert_async.msg",
    "aten::_assert_async",
    "aten::_assert_scalar",
    read=(),
    write=(),
)
def nothing():
    """A promise about values, which the trace makes again where it needs one."""
    return ()
