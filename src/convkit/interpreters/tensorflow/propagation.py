"""Operators on tensors whose axes are held in another order: what becomes of their axes, so that nothing is transposed.

The table names operators that give the same values in any order. A rule computes one on the tensors as they are held, with
its axes mapped, or returns NotImplemented: then the operator gets tensors in the model's order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

from convkit.interpreters.operators import Handler
from convkit.interpreters.tensorflow.backend import Size
from convkit.interpreters.tensorflow.operators.shapes import wanted_sizes
from convkit.interpreters.tensorflow.sizes import as_sizes, known, product, shape_tensor, sizes_of
from convkit.interpreters.tensorflow.table import operators
from convkit.interpreters.tensorflow.transposed import Order, Transposed, at_trace_time, expanded, in_order, plain, transposed

__all__ = ["propagated"]

_Compute = Callable[[list[Any], Mapping[str, Any]], Any]
"""The operator, on arguments and attributes."""

_Rule = Callable[[_Compute, list[Any], Mapping[str, Any]], Any]


def propagated(handler: Handler, compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    """The results of an operator, of whose arguments at least one is transposed.

    Args:
        handler: The operator's.
        compute: Calls it.
        arguments: Its arguments.
        attributes: Its attributes.
    """
    rule = _rules().get(handler.function)
    result = NotImplemented if rule is None else rule(compute, arguments, attributes)
    return compute([plain(a) for a in arguments], attributes) if result is NotImplemented else result


@cache
def _rules() -> dict[Callable[..., Any], _Rule]:
    """The rule of every registered function that has one."""
    table, rules = operators(), {}
    for domain, name, since in table.names():
        rule = None if domain else _RULES.get(name)
        handler = table.find(domain, name, since)
        if rule is not None and handler is not None and since >= _FROM_VERSION.get(name, 1):
            rules[handler.function] = rule
    return rules


def _in(order: Order, results: Any) -> Any:
    """The values that one or several tensors hold in an order."""
    return tuple(transposed(r, order) for r in results) if isinstance(results, tuple) else transposed(results, order)


def _as_it_is(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    """For functions that take their first argument transposed."""
    return compute([arguments[0], *map(plain, arguments[1:])], attributes)


def _unary(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    """Every element of the first argument by itself."""
    x, *others = arguments
    if not isinstance(x, Transposed):
        return NotImplemented
    return _in(x.order, compute([x.held, *map(plain, others)], attributes))


def _elementwise(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    """Every element by itself, of arguments that broadcast."""
    order = max((a for a in arguments if isinstance(a, Transposed)), key=lambda a: a.rank).order
    rank = _rank(order)
    if not all(_broadcasts(a, rank) for a in arguments):
        return NotImplemented
    return _in(order, compute([_operand(a, order, rank) for a in arguments], attributes))


def _rank(order: Order) -> int:
    return sum(axis is not None for axis in order)


def _broadcasts(argument: Any, rank: int) -> bool:
    if isinstance(argument, (tf.Tensor, Transposed)):
        return argument.shape.rank is not None and argument.shape.rank <= rank
    numbers = known(argument)
    return argument is None or (numbers is not None and numbers.size == 1)


def _operand(argument: Any, order: Order, rank: int) -> Any:
    """An argument as it broadcasts with tensors that are held in an order."""
    if not isinstance(argument, (tf.Tensor, Transposed)):
        return argument
    if isinstance(argument, tf.Tensor) and argument.shape.num_elements() == 1:
        # As a scalar, for which the converter to LiteRT looks where it recognises activations.
        return at_trace_time(argument, lambda tensor: tf.reshape(tensor, []))
    missing = rank - argument.shape.rank
    aligned: list[int | None] = [None if axis is None or axis < missing else axis - missing for axis in order]
    while aligned and aligned[0] is None:
        del aligned[0]
    held = in_order(argument, tuple(aligned))
    return held if isinstance(argument, Transposed) else _without_ones(held)  # one operand keeps all axes


def _without_ones(tensor: Any) -> Any:
    """A constant per channel as a vector, for which the converter to LiteRT looks."""
    if tensor.shape.rank < 2 or tensor.shape[0] != 1:
        return tensor
    ones = next((k for k, size in enumerate(tensor.shape) if size != 1), tensor.shape.rank - 1)
    static = tf.get_static_value(tensor)
    return tensor if static is None else tf.constant(static.reshape(static.shape[ones:]))


def _along_axis(default: int) -> _Rule:
    """Along one axis that stays, by an attribute."""

    def rule(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
        x, *others = arguments
        if not isinstance(x, Transposed) or attributes.get("block_size"):
            return NotImplemented
        mapped = {**attributes, "axis": x.position(attributes.get("axis", default))}
        return _in(x.order, compute([x.held, *map(plain, others)], mapped))

    return rule


def _concat(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    """In the order that most arguments have."""
    held = [a for a in arguments if isinstance(a, Transposed)]
    if 2 * len(held) < len(arguments) or len({a.shape.rank for a in arguments}) > 1:
        return NotImplemented
    order = held[0].order
    mapped = {**attributes, "axis": held[0].position(attributes["axis"])}
    return _in(order, compute([in_order(a, order) for a in arguments], mapped))


def _extreme(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    x, axis = arguments[0], attributes.get("axis", 0)
    result = compute([x.held], {**attributes, "axis": x.position(axis)})
    return _in(x.order if attributes.get("keepdims", 1) else _without(x.order, [axis % x.rank]), result)


def _without(order: Order, axes: Iterable[int]) -> Order:
    """What is left of an order without some axes."""
    gone = set(axes)
    left = sorted({axis for axis in order if axis is not None} - gone)
    return tuple(None if axis is None else left.index(axis) for axis in order if axis is None or axis not in gone)


def _reduce(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    """Over axes that an attribute or an input tells; over all of them where there are none."""
    x, given = arguments[0], arguments[1] if len(arguments) > 1 else None
    axes = attributes.get("axes") if given is None else known(given)
    if not isinstance(x, Transposed) or (given is not None and axes is None):
        return NotImplemented
    chosen = [] if axes is None else [int(axis) % x.rank for axis in np.asarray(axes).flat]
    if not chosen:
        return NotImplemented
    held = [x.position(axis) for axis in chosen]
    called = ([x.held], {**attributes, "axes": held}) if given is None else ([x.held, np.array(held)], attributes)
    result = compute(*called)
    return _in(x.order if attributes.get("keepdims", 1) else _without(x.order, chosen), result)


def _slice(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    x = arguments[0]
    if not isinstance(x, Transposed):
        return NotImplemented
    if len(arguments) == 1:
        axes = attributes.get("axes") or range(len(attributes["starts"]))
        return _in(x.order, compute([x.held], {**attributes, "axes": [x.position(axis) for axis in axes]}))
    starts, ends, axes, steps = (*map(plain, arguments[1:]), None, None)[:4]
    numbers = range(len(as_sizes(starts))) if axes is None else axes.flat
    return _in(x.order, compute([x.held, starts, ends, np.array([x.position(n) for n in numbers]), steps], attributes))


def _pad(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    x = arguments[0]
    if not isinstance(x, Transposed):
        return NotImplemented
    if len(arguments) == 1:
        margins = [list(attributes["pads"][: x.rank]), list(attributes["pads"][x.rank :])]
        mapped = [0 if axis is None else side[axis] for side in margins for axis in x.order]
        return _in(x.order, compute([x.held], {**attributes, "pads": mapped}))
    pads, value, axes = (*map(plain, arguments[1:]), None, None)[:3]
    numbers = range(x.rank) if axes is None else axes.flat
    return _in(x.order, compute([x.held, pads, value, np.array([x.position(n) for n in numbers])], attributes))


def _gather(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    x, indices = arguments[0], plain(arguments[1])
    numbers = known(indices)
    rank = indices.shape.rank if isinstance(indices, tf.Tensor) else None if numbers is None else numbers.ndim
    if not isinstance(x, Transposed) or rank not in (0, 1):
        return NotImplemented
    axis = attributes.get("axis", 0) % x.rank
    result = compute([x.held, indices], {**attributes, "axis": x.position(axis)})
    return _in(x.order if rank else _without(x.order, [axis]), result)


def _transpose(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    """The axes get other names, and nothing moves."""
    x = arguments[0]
    permutation = list(attributes.get("perm") or reversed(range(x.rank)))
    return transposed(x.held, tuple(None if axis is None else permutation.index(axis) for axis in x.order))


def _axes(arguments: list[Any], attributes: Mapping[str, Any]) -> list[int] | None:
    given = arguments[1] if len(arguments) > 1 else attributes.get("axes")
    return None if given is None else [int(axis) for axis in np.asarray(given).flat]


def _squeeze(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    """The axes stay where they are held, as ones that the value does not have."""
    x, axes = arguments[0], _axes(arguments, attributes)
    if axes is None and not x.shape.is_fully_defined():
        return NotImplemented
    gone = {k for k, size in enumerate(x.shape) if size == 1} if axes is None else {axis % x.rank for axis in axes}
    if any(x.shape[axis] is None for axis in gone):
        return NotImplemented  # see the operator: another size than 1 must fail
    left = [axis for axis in range(x.rank) if axis not in gone]
    return transposed(x.held, tuple(None if axis is None or axis in gone else left.index(axis) for axis in x.order))


def _unsqueeze(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    """A new axis is one that is held already, if there is one; else it comes behind the axis in front of it."""
    x, axes = arguments[0], _axes(arguments, attributes)
    held, order = x.held, x.order
    rank = x.rank + len(axes or ())
    for new in sorted(axis % rank for axis in axes or ()):
        moved = [axis if axis is None or axis < new else axis + 1 for axis in order]
        if None in moved:
            moved[moved.index(None)] = new
        else:
            position = moved.index(new - 1) + 1 if new else 0
            held = expanded(held, position)
            moved.insert(position, new)
        order = tuple(moved)
    return transposed(held, order)


def _reshape(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    x, shape = arguments[0], plain(arguments[1])
    if not isinstance(x, Transposed) or isinstance(shape, tf.Tensor):
        return NotImplemented
    own = sizes_of(x)
    return _regrouped(x, own, wanted_sizes(shape, own, bool(attributes.get("allowzero")), attributes["node"]))


def _flatten(compute: _Compute, arguments: list[Any], attributes: Mapping[str, Any]) -> Any:
    own, axis = sizes_of(arguments[0]), attributes.get("axis", 1)
    return _regrouped(arguments[0], own, [product(own[:axis]), product(own[axis:])])


def _regrouped(x: Transposed, own: list[Any], wanted: list[Any]) -> Any:
    """Axes parted, or joined where they are held side by side, to which they are moved if need be."""
    wanted = _identified(own, wanted)
    groups = _groups(own, wanted)
    if groups is None:
        return NotImplemented
    group_of = {axis: group for group in groups for axis in group[0]}
    sequence = list({id(group_of[axis]): group_of[axis] for axis in x.order if axis is not None}.values())
    held = in_order(x, tuple(axis for mine, _ in sequence for axis in mine))
    order = tuple(axis for _, theirs in sequence for axis in theirs)
    sizes = [wanted[axis] for axis in order]
    if sum(not _is_positive(size) for size in sizes) == 1:
        sizes = [size if _is_positive(size) else -1 for size in sizes]
    return transposed(tf.reshape(held, shape_tensor(sizes)), order)


def _is(size: Any, number: int) -> bool:
    return not isinstance(size, Size) and size == number


def _is_positive(size: Any) -> bool:
    return not isinstance(size, Size) and size > 0


def _identified(own: list[Any], wanted: list[Any]) -> list[Any]:
    """The wanted sizes; a dynamic one as the only one that the tensor has, where they must be equal."""
    before, after = ([size for size in sizes if not _is_positive(size)] for sizes in (own, wanted))
    if len(before) != 1 or len(after) != 1 or _is(after[0], 0) or _is(before[0], 0):
        return wanted
    if math.prod(filter(_is_positive, own)) != math.prod(filter(_is_positive, wanted)):
        return wanted
    return [size if _is_positive(size) else before[0] for size in wanted]


_Groups = list[tuple[list[int], list[int]]]


def _groups(own: list[Any], wanted: list[Any]) -> _Groups | None:
    """Which axes become which: one becomes several, or several one; None where the sizes do not tell, or it is not so."""
    if any(_is(size, 0) for size in (*own, *wanted)):
        return None
    before = [_Measure.of(size) for size in own]
    after = [_Measure.of(size) for size in wanted if not _is(size, -1)]
    for position in (k for k, size in enumerate(wanted) if _is(size, -1)):
        rest = math.prod(before, start=_ONE).by(math.prod(after, start=_ONE))
        if rest is None:
            return None
        after.insert(position, rest)
    groups = _matched(before, after)
    return groups if groups and all(1 in (len(mine), len(theirs)) for mine, theirs in groups) else None


@dataclass(frozen=True)
class _Measure:
    """A size as a product: of a number and dynamic sizes."""

    factor: int
    roots: Counter[Size]

    @classmethod
    def of(cls, size: Any) -> _Measure:
        return cls(size.factor, Counter(size.roots)) if isinstance(size, Size) else cls(int(size), Counter())

    def __mul__(self, other: _Measure) -> _Measure:
        return _Measure(self.factor * other.factor, self.roots + other.roots)

    def by(self, other: _Measure) -> _Measure | None:
        """The quotient, None where it is not whole."""
        if self.factor % other.factor or not other.roots <= self.roots:
            return None
        return _Measure(self.factor // other.factor, self.roots - other.roots)


_ONE = _Measure(1, Counter())


def _matched(own: list[_Measure], wanted: list[_Measure]) -> _Groups | None:
    """From the front, the shortest runs of axes with the same product."""
    groups: _Groups = []
    i = j = 0
    while i < len(own) and j < len(wanted):
        before, after = own[i], wanted[j]
        mine, theirs = [i], [j]
        while before != after:
            if before.by(after) and theirs[-1] + 1 < len(wanted):
                after *= wanted[theirs[-1] + 1]
                theirs.append(theirs[-1] + 1)
            elif after.by(before) and mine[-1] + 1 < len(own):
                before *= own[mine[-1] + 1]
                mine.append(mine[-1] + 1)
            else:
                return None
        groups.append((mine, theirs))
        i, j = mine[-1] + 1, theirs[-1] + 1
    if any(size != _ONE for size in (*own[i:], *wanted[j:])) or not groups:
        return None
    groups[-1][0].extend(range(i, len(own)))
    groups[-1][1].extend(range(j, len(wanted)))
    return groups


_UNARY = (
    *("Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cast", "CastLike", "Ceil", "Celu", "Cos", "Cosh", "Dropout"),
    *("Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish"),
    *("Neg", "Not", "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign"),
    *("Sqrt", "Swish", "Tan", "Tanh", "ThresholdedRelu", "BitwiseNot"),
)
_ELEMENTWISE = (
    *("Add", "And", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Clip", "Div", "Equal", "Greater", "GreaterOrEqual"),
    *("Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul", "Or", "PRelu", "Pow", "Sub", "Sum", "Where", "Xor"),
)
_REDUCTIONS = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
_TRANSPOSED_THEMSELVES = (
    *("AveragePool", "BatchNormalization", "Conv", "ConvTranspose", "DepthToSpace", "GlobalAveragePool", "GlobalMaxPool"),
    *("InstanceNormalization", "LRN", "MaxPool", "Resize", "SpaceToDepth", "Upsample"),
)
_RULES: dict[str, _Rule] = {
    **dict.fromkeys(_UNARY, _unary),
    **dict.fromkeys(_ELEMENTWISE, _elementwise),
    **dict.fromkeys((f"Reduce{name}" for name in _REDUCTIONS), _reduce),
    **dict.fromkeys(_TRANSPOSED_THEMSELVES, _as_it_is),
    **dict.fromkeys(("ArgMax", "ArgMin"), _extreme),
    **dict.fromkeys(("DequantizeLinear", "QuantizeLinear"), _along_axis(1)),
    **dict.fromkeys(("Hardmax", "LogSoftmax", "Softmax"), _along_axis(-1)),
    "Concat": _concat,
    "Flatten": _flatten,
    "Gather": _gather,
    "Pad": _pad,
    "Reshape": _reshape,
    "Slice": _slice,
    "Split": _along_axis(0),
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
_FROM_VERSION = {"Hardmax": 13, "LogSoftmax": 13, "Softmax": 13}
"""The opset before which an operator is another one."""
