"""Einsum as transposes, one product of matrices per pair of operands, and sums."""

from __future__ import annotations

import string

import tensorflow as tf

from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.tensorflow.backend import Size
from convkit.interpreters.tensorflow.sizes import product, rank_of, shape_tensor, size_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operator


@operator("Einsum")
def einsum(*operands, equation):
    terms, result = _labels(equation, [rank_of(x) for x in operands])
    pairs = [_diagonals(x, term) for x, term in zip(operands, terms, strict=True)]
    x, labels = pairs[0]
    for position, (other, other_labels) in enumerate(pairs[1:], 2):
        needed = set(result).union(*(term for _, term in pairs[position:]))
        x, labels = _contracted(x, labels, other, other_labels, needed)
    x, labels = _summed(x, labels, set(result))
    return x if labels == result else tf.transpose(x, [labels.index(label) for label in result])


def _labels(equation, ranks):
    """The labels of every operand and of the result; the dimensions of an ellipsis get labels of their own."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    spare = [letter for letter in string.printable if not letter.isspace() and letter not in equation]
    extra = [rank - len(term.replace("...", "")) if "..." in term else 0 for term, rank in zip(terms, ranks, strict=True)]
    dots = spare[: max(extra)]
    terms = [term.replace("...", "".join(dots[len(dots) - n :])) for term, n in zip(terms, extra, strict=True)]
    if not arrow:
        every = "".join(terms)
        right = "..." + "".join(sorted(letter for letter in set(every) - set(dots) if every.count(letter) == 1))
    return terms, right.replace("...", "".join(dots))


def _diagonals(x, labels):
    """A label that a term repeats stands for the diagonal: what is off it is zeroed, and summed away."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            index = tf.range(size_tensor(sizes_of(x)[first]))
            shapes = [[-1 if k == axis else 1 for k in range(len(labels))] for axis in (first, second)]
            on = tf.equal(tf.reshape(index, shapes[0]), tf.reshape(index, shapes[1]))
            x = tf.reduce_sum(tf.where(on, x, tf.zeros([], x.dtype)), second)
            labels = labels[:second] + labels[second + 1 :]
    return x, labels


def _summed(x, labels, needed):
    axes = [axis for axis, label in enumerate(labels) if label not in needed]
    return (tf.reduce_sum(x, axes) if axes else x), "".join(label for label in labels if label in needed)


def _contracted(a, a_labels, b, b_labels, needed):
    """Two operands in one: batch × left × inner times batch × inner × right."""
    a, a_labels = _summed(a, a_labels, needed | set(b_labels))
    b, b_labels = _summed(b, b_labels, needed | set(a_labels))
    shared = [label for label in a_labels if label in b_labels]
    a_sizes, b_sizes = (dict(zip(labels, sizes_of(x), strict=True)) for x, labels in ((a, a_labels), (b, b_labels)))
    if not a.dtype.is_floating or any(_is_one(a_sizes[label]) != _is_one(b_sizes[label]) for label in shared):
        return _multiplied(a, a_labels, b, b_labels, needed)
    batch, inner = ([label for label in shared if (label in needed) == kept] for kept in (True, False))
    left = [label for label in a_labels if label not in shared]
    right = [label for label in b_labels if label not in shared]
    a = _arranged(a, a_labels, batch, left, inner)
    b = _arranged(b, b_labels, batch, inner, right)
    sizes = {**b_sizes, **a_sizes}
    labels = [*batch, *left, *right]
    return tf.reshape(tf.matmul(a, b), shape_tensor([sizes[label] for label in labels])), "".join(labels)


def _is_one(size):
    return not isinstance(size, Size) and size == 1


def _arranged(x, labels, *groups):
    """One dimension per group of labels; the first group's stay apart, as products of matrices have batches of any rank."""
    sizes = dict(zip(labels, sizes_of(x), strict=True))
    order = [label for group in groups for label in group]
    x = x if list(labels) == order else tf.transpose(x, [labels.index(label) for label in order])
    shape = [*(sizes[label] for label in groups[0]), *(product(sizes[label] for label in group) for group in groups[1:])]
    return tf.reshape(x, shape_tensor(shape))


def _multiplied(a, a_labels, b, b_labels, needed):
    """Element by element, for integers and where a dimension of 1 broadcasts."""
    labels = a_labels + "".join(label for label in b_labels if label not in a_labels)
    if len(labels) > 8:
        raise UnsupportedError(f"a product over {len(labels)} dimensions")
    order = sorted(b_labels, key=labels.index)
    b = tf.transpose(b, [b_labels.index(label) for label in order])
    sizes = dict(zip(order, sizes_of(b), strict=True))
    a = tf.reshape(a, shape_tensor([*sizes_of(a), *[1] * (len(labels) - len(a_labels))]))
    b = tf.reshape(b, shape_tensor([sizes.get(label, 1) for label in labels]))
    return _summed(a * b, labels, needed)
