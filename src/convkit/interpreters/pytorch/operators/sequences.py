"""Sequences and optionals: Python lists and None while tracing; how many tensors there are is known, never computed."""

from __future__ import annotations

import onnx_ir as ir
import torch

from convkit.interpreters.host import DataDependentError, Host
from convkit.interpreters.operators import Known, Sizes, UnsupportedError, Value
from convkit.interpreters.pytorch.backend import TorchBackend, as_tensor
from convkit.interpreters.pytorch.table import operator


def _position(sequence, position, *, default):
    """An index into a sequence; negative ones count from its end."""
    if position is None:
        return default
    index = int(position.reshape(-1)[0])
    return index + len(sequence) if index < 0 else index


@operator("SequenceConstruct", since=11)
def sequence_construct(*inputs: Value):
    return list(inputs)


@operator("SequenceEmpty", since=11)
def sequence_empty(*, dtype=1):
    return []


@operator("SequenceAt", since=11)
def sequence_at(sequence: Value, position: Known):
    return sequence[_position(sequence, position, default=None)]


@operator("SequenceErase", since=11)
def sequence_erase(sequence: Value, position: Known | None = None):
    index = _position(sequence, position, default=len(sequence) - 1)
    return [*sequence[:index], *sequence[index + 1 :]]


@operator("SequenceInsert", since=11)
def sequence_insert(sequence: Value, tensor: Value, position: Known | None = None):
    index = _position(sequence, position, default=len(sequence))
    return [*sequence[:index], tensor, *sequence[index:]]


@operator("SequenceLength", since=11)
def sequence_length(sequence: Value):
    return Host.of(len(sequence))


@operator("ConcatFromSequence", since=11)
def concat_from_sequence(sequence: Value, *, axis, new_axis=0):
    tensors = [_tensor(v) for v in sequence]
    return torch.stack(tensors, axis) if new_axis else torch.cat(tensors, axis)


def _tensor(value):
    if isinstance(value, torch.Tensor):
        return value
    return as_tensor(value.const_value.numpy()) if isinstance(value, ir.Value) else TorchBackend({}).tensor(value)


@operator("SplitToSequence", since=11)
def split_to_sequence(x, split: Sizes | None = None, *, axis=0, keepdims=1, node):
    length = x.shape[axis]
    if split is None:
        if not isinstance(length, int):
            raise DataDependentError("the number of tensors is a dynamic size")
        parts = x.split(1, axis)
        return list(parts) if keepdims else [p.squeeze(axis) for p in parts]
    is_scalar = node.inputs[1].shape is not None and len(node.inputs[1].shape) == 0
    if is_scalar and not isinstance(length, int):
        raise DataDependentError("the number of tensors is a dynamic size")
    return list(x.split(split[0] if is_scalar else split, axis))


@operator("SequenceMap", since=17)
def sequence_map(sequence: Value, *others: Value, body):
    columns = [other if isinstance(other, list) else [other] * len(sequence) for other in others]
    results = [body(*row) for row in zip(sequence, *columns, strict=True)]
    if not results:
        return tuple([] for _ in body.graph.outputs)
    return tuple(list(column) for column in zip(*results, strict=True))


@operator("Optional", since=15)
def optional(value: Value = None, *, type=None):
    return value


@operator("OptionalHasElement", since=15)
def optional_has_element(value: Value = None):
    return Host.of(value is not None, bool)


@operator("OptionalGetElement", since=15)
def optional_get_element(value: Value):
    if value is None:
        raise UnsupportedError("the element of an empty optional")
    return value
