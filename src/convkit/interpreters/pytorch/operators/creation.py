"""Tensors made from shapes and numbers: constants, ranges, identities, random numbers."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true

from convkit.interpreters.host import Host, whole_if_equal
from convkit.interpreters.operators import UnsupportedError, Value
from convkit.interpreters.pytorch.backend import as_tensor, torch_dtype
from convkit.interpreters.pytorch.sizes import declared_shape, sizes, unbacked
from convkit.interpreters.pytorch.table import operator


def _accepts_constant(node):
    held = next(iter(node.attributes), "nothing")
    return f"PyTorch has no tensors for {held}" if held in ("value_string", "value_strings", "sparse_value") else None


@operator("Constant", accepts=_accepts_constant)
def constant(*, value=None, value_float=None, value_floats=None, value_int=None, value_ints=None):
    if value is not None:
        return as_tensor(value)
    if value_float is not None or value_floats is not None:
        return as_tensor(np.array(value_floats if value_float is None else value_float, np.float32))
    return as_tensor(np.array(value_ints if value_int is None else value_int, np.int64))


@operator("ConstantOfShape", since=9)
def constant_of_shape(shape: Value, *, value=None, node):
    filling = as_tensor(np.zeros(1, np.float32) if value is None else value)
    return torch.full(sizes(shape, node), filling.item(), dtype=filling.dtype)


@operator("Range")
def arange(start: Value, limit: Value, delta: Value, *, stash_type=1, node):
    """Numbers that are known or symbolic are torch's own arguments; computed ones give an unbacked size."""
    dtype = torch_dtype(node.inputs[0].dtype)
    numbers = [_number(v) for v in (start, limit, delta)]
    if all(n is not None for n in numbers):
        first, last, step = map(whole_if_equal, numbers)
        if all(isinstance(n, (int, float)) for n in numbers):
            count = max(0, math.ceil((last - first) / step))
            return (first + torch.arange(count, dtype=dtype) * step).to(dtype)
        rises = _is_positive(step) and not statically_known_true(last >= first)
        return torch.arange(first, torch.sym_max(first, last) if rises else last, step, dtype=dtype)
    first, last, step = (_scalar(v, dtype) for v in (start, limit, delta))
    declared = declared_shape(node)
    if declared is not None:
        count = declared[0]
    else:
        [count] = unbacked(torch.clamp(torch.ceil((last - first).double() / step.double()), min=0).to(torch.int64))
    return first + torch.arange(count, dtype=dtype) * step


def _is_positive(step):
    return isinstance(step, (int, float)) and step > 0


def _number(value):
    """The Python number or torch symbol of a range's argument; None for what is computed from data."""
    if isinstance(value, torch.Tensor):
        return None
    return value.sizes()[0] if isinstance(value, Host) else value.const_value.numpy().item()


def _scalar(value, dtype):
    if isinstance(value, torch.Tensor):
        return value.reshape(())
    return torch.scalar_tensor(_number(value), dtype=dtype)


@operator("EyeLike")
def eye_like(x, *, dtype=None, k=0):
    rows, columns = x.shape
    diagonal = torch.eq(torch.arange(rows).unsqueeze(1) + k, torch.arange(columns))
    return diagonal.to(x.dtype if dtype is None else torch_dtype(dtype))


# Random numbers are the framework's own: ONNX does not define the generator, so a seed cannot be kept either.


@operator("RandomNormal")
def random_normal(*, shape, dtype=1, mean=0.0, scale=1.0, seed=None):
    return torch.randn(list(shape), dtype=torch_dtype(dtype)) * scale + mean


@operator("RandomUniform")
def random_uniform(*, shape, dtype=1, low=0.0, high=1.0, seed=None):
    return torch.rand(list(shape), dtype=torch_dtype(dtype)) * (high - low) + low


@operator("RandomNormalLike")
def random_normal_like(x, *, dtype=None, mean=0.0, scale=1.0, seed=None):
    return torch.randn(x.shape, dtype=_random_dtype(x, dtype)) * scale + mean


@operator("RandomUniformLike")
def random_uniform_like(x, *, dtype=None, low=0.0, high=1.0, seed=None):
    return torch.rand(x.shape, dtype=_random_dtype(x, dtype)) * (high - low) + low


def _random_dtype(x, dtype):
    found = x.dtype if dtype is None else torch_dtype(dtype)
    if not found.is_floating_point:
        raise UnsupportedError(f"random numbers of {found}")
    return found
