"""Conversions of dtype."""

from __future__ import annotations

import math

import onnx_ir as ir
import torch

from convkit.interpreters.operators import UnsupportedError, Value
from convkit.interpreters.pytorch import unsigned
from convkit.interpreters.pytorch.backend import torch_dtype
from convkit.interpreters.pytorch.table import operator

_SIGNED = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

_FLOAT8 = (ir.DataType.FLOAT8E4M3FN, ir.DataType.FLOAT8E4M3FNUZ, ir.DataType.FLOAT8E5M2, ir.DataType.FLOAT8E5M2FNUZ)


def _refusal(dtype):
    try:
        torch_dtype(dtype)
    except UnsupportedError as error:
        return str(error)
    return None


def _accepts_cast(node):
    source = node.inputs[0].dtype
    refusal = _refusal(node.attributes["to"].as_int()) if "to" in node.attributes else None
    return refusal or (None if source is None else _refusal(source))


def _accepts_cast_like(node):
    return next((r for value in node.inputs if value.dtype is not None and (r := _refusal(value.dtype))), None)


@operator("Identity")
def identity(x: Value):
    return x


@operator("Cast", accepts=_accepts_cast)
def cast(x, *, to, saturate=1, round_mode="up", node):
    return _convert(x, ir.DataType(to), saturate, node)


@operator("CastLike", accepts=_accepts_cast_like)
def cast_like(x, target: Value, *, saturate=1, round_mode="up", node):
    declared = node.outputs[0].dtype or node.inputs[1].dtype
    if declared is None:
        raise UnsupportedError("the dtype to cast to is not declared")
    return _convert(x, declared, saturate, node)


def _convert(x, dtype, saturate, node):
    wanted = torch_dtype(dtype)
    if dtype in _FLOAT8 and saturate:
        # torch makes what is out of range of most of them infinite or NaN.
        limits = torch.finfo(wanted)
        x = torch.clamp(x, limits.min, limits.max)
    if dtype is ir.DataType.FLOAT8E4M3FN and not saturate:
        # torch saturates this one; 464 is halfway between the largest number and what would be the next.
        x = torch.where(torch.abs(x) > 464, math.nan, x)
    if unsigned.is_unsigned(node) and wanted.is_floating_point:
        return unsigned.to_float(x, wanted)
    return x.to(wanted)


@operator("BitCast", accepts=_accepts_cast)
def bit_cast(x, *, to, node):
    target, source = torch_dtype(to), node.inputs[0].dtype
    width = target.itemsize
    if source is None or source.itemsize != width:
        raise UnsupportedError("bits are cast between dtypes of one width only")
    if not source.is_floating_point():
        x = x.to(_SIGNED[width])  # unsigned integers arrive widened
    if target.is_floating_point:
        return x.view(target)
    return x.view(_SIGNED[width]).to(target)
