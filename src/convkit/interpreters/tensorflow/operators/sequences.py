"""Sequences and optionals: Python lists and None while tracing, so that nothing of them is left in the function."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from convkit.interpreters.host import Host
from convkit.interpreters.operators import Known, Sizes, UnsupportedError, Value
from convkit.interpreters.tensorflow.sizes import rank_of, shape_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator


@operator("SequenceEmpty")
def sequence_empty(*, dtype=1):
    return []


@operator("SequenceConstruct")
def sequence_construct(*inputs: Value):
    return list(inputs)


@operator("SequenceAt")
def sequence_at(sequence: Value, position: Known):
    return sequence[int(position)]


@operator("SequenceInsert")
def sequence_insert(sequence: Value, tensor: Value, position: Known = None):
    where = len(sequence) if position is None else int(position)
    where += len(sequence) if where < 0 else 0
    return [*sequence[:where], tensor, *sequence[where:]]


@operator("SequenceErase")
def sequence_erase(sequence: Value, position: Known = None):
    where = (-1 if position is None else int(position)) % len(sequence)
    return [*sequence[:where], *sequence[where + 1 :]]


@operator("SequenceLength")
def sequence_length(sequence: Value):
    return Host.of(len(sequence))


@operator("SplitToSequence")
def split_to_sequence(x, split: Sizes | None = None, *, axis=0, keepdims=1, node):
    axis %= rank_of(x)
    size = sizes_of(x)[axis]
    if not isinstance(size, int):
        raise UnsupportedError("a split of a dynamic dimension into a sequence")
    lengths = _lengths(split, size, node)
    parts = tf.split(x, lengths, axis) if lengths else []
    squeezes = split is None and not keepdims
    return [tf.squeeze(part, [axis]) for part in parts] if squeezes else list(parts)


def _lengths(split, size, node):
    """Pieces of 1, of one length (the last one shorter), or as given; whether one length is meant tells the input's rank."""
    if split is None:
        return [1] * size
    if not all(isinstance(n, int) for n in split):
        raise UnsupportedError("pieces of a dynamic size")
    shape = node.inputs[1].shape
    if len(split) == 1 and (shape is None or len(shape) == 0):
        whole, rest = divmod(size, split[0])
        return [split[0]] * whole + [rest] * bool(rest)
    return split


@operator("ConcatFromSequence")
def concat_from_sequence(sequence: Value, *, axis, new_axis=0, node):
    if not isinstance(sequence, list) or not sequence:
        raise UnsupportedError("an empty sequence, or one that only the data tell")
    tensors = [_as_tensor(element) for element in sequence]
    return tf.stack(tensors, axis) if new_axis else tf.concat(tensors, axis)


def _as_tensor(element):
    if isinstance(element, tf.Tensor):
        return element
    if isinstance(element, Host):
        if element.is_symbolic:
            return tf.cast(shape_tensor(element.sizes()), element.dtype)
        return tf.constant(element.array)
    return tf.constant(np.asarray(element.const_value.numpy()))


@operator("SequenceMap")
def sequence_map(sequence: Value, *others: Value, body):
    columns: list[list[Any]] = [[] for _ in body.graph.outputs]
    for index, element in enumerate(sequence):
        results = body(element, *(o[index] if isinstance(o, list) else o for o in others))
        for column, result in zip(columns, results, strict=True):
            column.append(result)
    return tuple(columns)


@operator("Optional")
def optional(value: Value = None, *, type=None):
    return value


@operator("OptionalHasElement")
def optional_has_element(value: Value = None):
    return Host.of(np.array(value is not None), np.bool_)


@operator("OptionalGetElement")
def optional_get_element(value: Value):
    if value is None:
        raise UnsupportedError("the element of an empty optional")
    return value
