"""Restores the dynamic dimensions of a LiteRT model that was converted with its dynamic sizes pinned to primes.

See `prime_sizes` for why a prime marks its symbol. LiteRT's kernels compute the shapes of their outputs themselves, from
their inputs; what keeps a statically converted file from resizing is its constants. They are of two kinds: vectors that
say a shape (RESHAPE's target, SLICE's extents, …), which become -1 or a computed vector, and data whose own shape has a
dynamic axis (an initial state of zeros, row numbers), which becomes a smaller constant that is broadcast, or a RANGE.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convkit.errors import ConversionError
from convkit.legalization.litert_constants import generalise
from convkit.legalization.litert_graph import GraphEditor, remove_unused_tensors, text

if TYPE_CHECKING:
    import sympy  # type: ignore[import-untyped]

    from convkit.legalization.prime_sizes import DynamicSizes

__all__ = ["restore_dynamic_dims"]

# Inputs that hold a shape, or positions and extents along axes: operator → input indices.
_SIZE_INPUTS: Mapping[str, tuple[int, ...]] = {
    "RESHAPE": (1,), "BROADCAST_TO": (1,), "FILL": (0,), "TILE": (1,), "SLICE": (1, 2), "STRIDED_SLICE": (1, 2, 3),
    "TRANSPOSE_CONV": (0,), "RESIZE_BILINEAR": (1,), "RESIZE_NEAREST_NEIGHBOR": (1,), "RANGE": (0, 1, 2), "SPLIT_V": (1,),
    "PAD": (1,), "PADV2": (1,), "MIRROR_PAD": (1,), "SCATTER_ND": (2,), "ONE_HOT": (1,), "TOPK_V2": (1,),
    "EXPAND_DIMS": (1,), "TRANSPOSE": (1,), "SUM": (1,), "MEAN": (1,), "REDUCE_MAX": (1,), "REDUCE_MIN": (1,),
    "REDUCE_PROD": (1,), "REDUCE_ANY": (1,), "REDUCE_ALL": (1,), "ARG_MAX": (1,), "ARG_MIN": (1,), "CUMSUM": (1,),
    "REVERSE_V2": (1,), "SPLIT": (0,), "GATHER_ND": (), "DYNAMIC_UPDATE_SLICE": (2,),
}  # fmt: skip

# Of these, the ones that name axes: small numbers that never stand for a size.
_AXIS_OPERATORS = frozenset(
    {
        "EXPAND_DIMS", "TRANSPOSE", "SUM", "MEAN", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY",
        "REDUCE_ALL", "ARG_MAX", "ARG_MIN", "CUMSUM", "REVERSE_V2", "SPLIT",
    }
)  # fmt: skip

_BROADCASTING = frozenset(
    {
        "ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "POW", "SQUARED_DIFFERENCE", "FLOOR_DIV", "FLOOR_MOD",
        "SELECT_V2", "LESS", "LESS_EQUAL", "GREATER", "GREATER_EQUAL", "EQUAL", "NOT_EQUAL", "LOGICAL_AND",
        "LOGICAL_OR", "ATAN2",
    }
)  # fmt: skip

# Operators with small integer constants that may be sizes: JAX's lowerings wrap and check indices with them.
_COUNTING = _BROADCASTING | {"SELECT"}
_LARGEST_VECTOR = 64

# Their sizes stand in options, or in another subgraph.
_OPAQUE = frozenset(
    {
        "CUSTOM", "STABLEHLO_COMPOSITE", "STABLEHLO_CUSTOM_CALL", "STABLEHLO_GATHER", "STABLEHLO_SLICE",
        "STABLEHLO_DYNAMIC_SLICE", "STABLEHLO_PAD", "STABLEHLO_IOTA", "STABLEHLO_BROADCAST_IN_DIM",
        "STABLEHLO_RESHAPE", "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_WHILE", "STABLEHLO_CASE", "WHILE", "IF",
        "CALL", "CALL_ONCE", "UNIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_LSTM",
    }
)  # fmt: skip


def restore_dynamic_dims(model: Any, sizes: DynamicSizes) -> None:
    """Makes every dimension of `model` that stands for a symbol dynamic; changes the model in place.

    The derived inputs (the last ones of subgraph 0) are replaced by computed tensors.

    Args:
        model: A `ModelT` of ai_edge_litert's schema, converted from the program that `prime_sizes.pin_sizes` gave.
        sizes: What the primes stand for.

    Raises:
        ConversionError: A constant depends on a dynamic size in a way that is not expressible, or an operator keeps
            sizes where they cannot be changed; the message names the operator and its output tensor.
    """
    graph = model.subgraphs[0]
    inputs = [int(i) for i in graph.inputs]
    own = inputs[: len(inputs) - len(sizes.derived)]
    editor = GraphEditor(model, graph, sizes, own)
    _refuse_opaque(editor, sizes)
    existing = list(graph.operators)
    _bind_derived_inputs(editor, existing, inputs[len(own) :], sizes)
    for operator in existing:
        _restore_operator(editor, operator, sizes)
    replaced: dict[tuple[int, bool], int] = {}
    for operator in existing:
        _restore_data(editor, operator, sizes, replaced)
    _restore_outputs(editor, sizes, replaced)
    known = len(graph.tensors)
    editor.finish()
    _restore_shapes(graph, sizes, known)
    remove_unused_tensors(model, graph)


def _where(editor: GraphEditor, operator: Any) -> str:
    return f"{editor.builtin(operator)} '{text(editor.graph.tensors[int(operator.outputs[0])].name).split(';')[0]}'"


def _refuse(editor: GraphEditor, operator: Any, why: str) -> ConversionError:
    return ConversionError(
        f"the converted {_where(editor, operator)} {why}",
        component="litert-torch",
        hint="make that dimension static, or see `convkit plan` for another route",
    )


def _resolve_all(sizes: DynamicSizes, values: Iterable[Any]) -> list[int | sympy.Expr]:
    return [sizes.resolve(int(v)) for v in values]


def _dynamic(entries: Sequence[int | sympy.Expr]) -> list[int]:
    return [i for i, e in enumerate(entries) if not isinstance(e, int)]


def _refuse_opaque(editor: GraphEditor, sizes: DynamicSizes) -> None:
    for operator in editor.graph.operators:
        tensors = [int(t) for t in (*operator.inputs, *operator.outputs) if t >= 0]
        if editor.builtin(operator) in _OPAQUE and any(_dynamic(_resolve_all(sizes, editor.shape(t))) for t in tensors):
            raise _refuse(editor, operator, "fixes its sizes, so its dynamic dimensions cannot be restored")


def _bind_derived_inputs(editor: GraphEditor, operators: Sequence[Any], indices: Sequence[int], sizes: DynamicSizes) -> None:
    graph = editor.graph
    bound = {
        index: editor.range(derived.size) if derived.is_range else editor.size(derived.size)
        for index, derived in zip(indices, sizes.derived, strict=True)
    }
    for operator in operators:
        operator.inputs = np.array([bound.get(int(t), int(t)) for t in operator.inputs], np.int32)
    graph.outputs = np.array([bound.get(int(t), int(t)) for t in graph.outputs], np.int32)
    graph.inputs = np.array([t for t in graph.inputs if int(t) not in bound], np.int32)
    for definition in model_signatures(editor.model):
        definition.inputs = [entry for entry in definition.inputs if entry.tensorIndex not in bound]


def model_signatures(model: Any) -> list[Any]:
    """The SignatureDefs of subgraph 0."""
    return [d for d in model.signatureDefs or () if d.subgraphIndex == 0]


def _restore_operator(editor: GraphEditor, operator: Any, sizes: DynamicSizes) -> None:
    """Rewrites the constants of one operator that say sizes."""
    name = editor.builtin(operator)
    if name in {"UNPACK", "SPLIT"}:
        source = int(operator.inputs[1 if name == "SPLIT" else 0])
        shape = editor.shape(source)
        axis = int(editor.value(int(operator.inputs[0]))) if name == "SPLIT" else operator.builtinOptions.axis  # type: ignore[arg-type]
        if not isinstance(sizes.resolve(shape[axis]), int):
            raise _refuse(editor, operator, "splits a dynamic dimension into a fixed number of parts")
    special = _SPECIAL.get(name)
    if special is not None:
        special(editor, operator, sizes)
    elif name in _COUNTING:
        for position in range(len(operator.inputs)):
            _restore_values(editor, operator, position, sizes)
    elif name not in _AXIS_OPERATORS:
        for position in _SIZE_INPUTS.get(name, ()):
            _restore_vector(editor, operator, position, sizes)


def _replace_input(operator: Any, position: int, tensor: int) -> None:
    inputs = [int(t) for t in operator.inputs]
    inputs[position] = tensor
    operator.inputs = np.array(inputs, np.int32)


def _restore_vector(editor: GraphEditor, operator: Any, position: int, sizes: DynamicSizes) -> None:
    """A constant of sizes becomes a computed tensor of the same shape and dtype."""
    value = editor.value(int(operator.inputs[position])) if position < len(operator.inputs) else None
    if value is None:
        return
    entries = _resolve_all(sizes, value.reshape(-1))
    if not _dynamic(entries):
        return
    found = editor.vector(entries, value.dtype)
    if value.ndim != 1:
        target = editor.constant(np.array(value.shape, np.int32))
        found = editor.add("RESHAPE", [found, target], value.dtype, value.shape, newShape=list(value.shape))
    _replace_input(operator, position, found)


def _restore_values(editor: GraphEditor, operator: Any, position: int, sizes: DynamicSizes) -> None:
    """An operand that holds sizes as values (`index + n`), or largest indices (`index <= n - 1`), is computed."""
    value = editor.value(int(operator.inputs[position]))
    if value is None or value.dtype.kind != "i" or not 0 < value.size <= _LARGEST_VECTOR:
        return
    if _dynamic(_resolve_all(sizes, value.shape)):
        return  # rows of a constant that has a dynamic axis itself
    entries = []
    for number in value.reshape(-1):
        found, next_one = sizes.resolve(int(number)), sizes.resolve(int(number) + 1)
        entries.append(next_one - 1 if isinstance(found, int) and not isinstance(next_one, int) else found)
    if not _dynamic(entries):
        return
    tensor = editor.vector(entries, value.dtype)
    if value.shape == ():
        tensor = editor.add("SQUEEZE", [tensor], value.dtype, [], squeezeDims=[0])
    elif value.ndim > 1:
        target = editor.constant(np.array(value.shape, np.int32))
        tensor = editor.add("RESHAPE", [tensor, target], value.dtype, value.shape, newShape=list(value.shape))
    _replace_input(operator, position, tensor)


def _restore_reshape(editor: GraphEditor, operator: Any, sizes: DynamicSizes) -> None:
    target = [int(d) for d in editor.shape(int(operator.outputs[0]))]
    entries = _resolve_all(sizes, target)
    dynamic = _dynamic(entries)
    if not dynamic:
        return
    if len(dynamic) == 1:
        # The other sizes are static, so the one that is left is what remains.
        wanted = [-1 if i in dynamic else int(d) for i, d in enumerate(target)]
        operator.inputs = np.array([operator.inputs[0], editor.constant(np.array(wanted, np.int32))], np.int32)
        if operator.builtinOptions is not None:
            operator.builtinOptions.newShape = np.array(wanted, np.int32)
        return
    operator.inputs = np.array([operator.inputs[0], editor.vector(entries)], np.int32)
    operator.builtinOptionsType, operator.builtinOptions = 0, None


def _restore_slice(editor: GraphEditor, operator: Any, sizes: DynamicSizes) -> None:
    begin, extent = (editor.value(int(t)) for t in operator.inputs[1:3])
    if begin is None or extent is None:
        _restore_vector(editor, operator, 1, sizes)
        _restore_vector(editor, operator, 2, sizes)
        return
    shape = editor.shape(int(operator.inputs[0]))
    starts = _resolve_all(sizes, begin)
    extents = [
        -1 if int(b) + int(z) == d and not isinstance(sizes.resolve(d), int) else sizes.resolve(int(z))
        for b, z, d in zip(begin, extent, shape, strict=True)
    ]
    if _dynamic(starts):
        _replace_input(operator, 1, editor.vector(starts, begin.dtype))
    if _dynamic(extents) or any(e == -1 for e in extents):
        _replace_input(operator, 2, editor.vector(extents, extent.dtype))


def _restore_strided_slice(editor: GraphEditor, operator: Any, sizes: DynamicSizes) -> None:
    end, options = editor.value(int(operator.inputs[2])), operator.builtinOptions
    shape = editor.shape(int(operator.inputs[0]))
    if end is not None and not (options.newAxisMask or options.ellipsisMask):
        value = end.copy()
        for axis, size in enumerate(shape[: len(value)]):
            if int(value[axis]) == size and not isinstance(sizes.resolve(size), int):
                options.endMask |= 1 << axis
                value[axis] = 0
        _replace_input(operator, 2, editor.constant(value))
    for position in (1, 2):
        _restore_vector(editor, operator, position, sizes)


def _restore_padding(editor: GraphEditor, operator: Any, sizes: DynamicSizes) -> None:
    value = editor.value(int(operator.inputs[1]))
    if value is not None and _dynamic(_resolve_all(sizes, value.reshape(-1))):
        raise _refuse(editor, operator, "pads by a number of elements that stands for a dynamic size")


def _restore_window(editor: GraphEditor, operator: Any, sizes: DynamicSizes) -> None:
    """Makes the padding of a strided window explicit where SAME would mean another one at another size.

    SAME splits `max(0, (ceil(size / stride) - 1) * stride + kernel - size)`: with a stride of 2 and a kernel of 3 that is
    one before and one after an odd size, none before and one after an even one. PyTorch's padding does not vary.
    """
    name, options = editor.builtin(operator), operator.builtinOptions
    source = int(operator.inputs[0])
    shape = editor.shape(source)
    if options.padding != editor.schema.Padding.SAME:
        return
    if name in {"CONV_2D", "DEPTHWISE_CONV_2D"}:
        kernel = editor.shape(int(operator.inputs[1]))[1:3]
        dilation = [options.dilationHFactor, options.dilationWFactor]
    else:
        kernel, dilation = [options.filterHeight, options.filterWidth], [1, 1]
    strides = [options.strideH, options.strideW]
    if not any(s > 1 and not isinstance(sizes.resolve(d), int) for s, d in zip(strides, shape[1:3], strict=True)):
        return
    pads = [[0, 0]]
    for size, stride, cells, spread in zip(shape[1:3], strides, kernel, dilation, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + (cells - 1) * spread + 1 - size)
        pads.append([total // 2, total - total // 2])
    pads.append([0, 0])
    options.padding = editor.schema.Padding.VALID
    if not any(map(any, pads)):
        return
    if name == "AVERAGE_POOL_2D":
        raise _refuse(editor, operator, "averages over a padding that depends on a dynamic size")
    padded = [sizes.resolve(d) for d in shape]
    signature = [d + sum(p) if isinstance(d, int) else -1 for d, p in zip(padded, pads, strict=True)]
    inputs = [source, editor.constant(np.array(pads, np.int32))]
    if name == "MAX_POOL_2D":
        lowest = -np.inf if editor.dtype(source).kind == "f" else np.iinfo(editor.dtype(source)).min
        inputs.append(editor.constant(np.array(lowest, editor.dtype(source))))
    kind = "PADV2" if len(inputs) == 3 else "PAD"
    _replace_input(operator, 0, editor.add_before(operator, kind, inputs, editor.dtype(source), signature))


def _restore_transposed_window(editor: GraphEditor, operator: Any, sizes: DynamicSizes) -> None:
    """TRANSPOSE_CONV's output sizes grow with the input's: `stride * size + constant`."""
    said = editor.value(int(operator.inputs[0]))
    if said is None:
        return
    shape, options = editor.shape(int(operator.inputs[2])), operator.builtinOptions
    entries: list[int | sympy.Expr] = [sizes.resolve(shape[0])]
    for wanted, size, stride in zip(said[1:3], shape[1:3], (options.strideH, options.strideW), strict=True):
        found = sizes.resolve(size)
        entries.append(int(wanted) if isinstance(found, int) else found * int(stride) + (int(wanted) - size * int(stride)))
    if _dynamic(entries):
        _replace_input(operator, 0, editor.vector([*entries, int(said[3])], said.dtype))


_SPECIAL: Mapping[str, Callable[[GraphEditor, Any, DynamicSizes], None]] = {
    "RESHAPE": _restore_reshape,
    "SLICE": _restore_slice,
    "STRIDED_SLICE": _restore_strided_slice,
    "PAD": _restore_padding,
    "PADV2": _restore_padding,
    "MIRROR_PAD": _restore_padding,
    "CONV_2D": _restore_window,
    "TRANSPOSE_CONV": _restore_transposed_window,
    "DEPTHWISE_CONV_2D": _restore_window,
    "MAX_POOL_2D": _restore_window,
    "AVERAGE_POOL_2D": _restore_window,
}


def _restore_data(editor: GraphEditor, operator: Any, sizes: DynamicSizes, replaced: dict[tuple[int, bool], int]) -> None:
    """Rewrites the constants of one operator whose own shape has a dynamic axis."""
    name = editor.builtin(operator)
    said = _SIZE_INPUTS.get(name, ())
    for position, tensor in enumerate(int(t) for t in operator.inputs):
        if position in said or tensor < 0:
            continue
        shape = _resolve_all(sizes, editor.shape(tensor))
        if not _dynamic(shape) or (value := editor.value(tensor)) is None:
            continue
        may_broadcast = name in _BROADCASTING and _another_has_shape(editor, operator, position, sizes)
        key = (tensor, may_broadcast)
        if key not in replaced:
            replaced[key] = generalise(editor, _where(editor, operator), value, shape, may_broadcast)
        _replace_input(operator, position, replaced[key])


def _restore_outputs(editor: GraphEditor, sizes: DynamicSizes, replaced: dict[tuple[int, bool], int]) -> None:
    """Outputs of the graph that are constants with a dynamic axis."""
    outputs = [int(t) for t in editor.graph.outputs]
    for position, tensor in enumerate(outputs):
        shape = _resolve_all(sizes, editor.shape(tensor))
        value = editor.value(tensor) if _dynamic(shape) else None
        if value is not None:
            name = text(editor.graph.tensors[tensor].name)
            found = replaced.get((tensor, False)) or generalise(editor, f"output '{name}'", value, shape, False)
            outputs[position] = found
            for definition in model_signatures(editor.model):
                for entry in definition.outputs:
                    entry.tensorIndex = found if entry.tensorIndex == tensor else entry.tensorIndex
    editor.graph.outputs = np.array(outputs, np.int32)


def _another_has_shape(editor: GraphEditor, operator: Any, position: int, sizes: DynamicSizes) -> bool:
    """Whether another operand, no constant, gives the output every dynamic size that this operand has."""
    mine = editor.shape(int(operator.inputs[position]))
    for other, tensor in enumerate(int(t) for t in operator.inputs):
        if other == position or tensor < 0 or editor.value(tensor) is not None:
            continue
        theirs = editor.shape(tensor)
        theirs = [1] * (len(mine) - len(theirs)) + theirs
        aligned = theirs[len(theirs) - len(mine) :]
        if all(isinstance(sizes.resolve(m), int) or m == t for m, t in zip(mine, aligned, strict=True)):
            return True
    return False


def _restore_shapes(graph: Any, sizes: DynamicSizes, known: int) -> None:
    """States in every tensor which of its dimensions are dynamic."""
    for tensor in graph.tensors[:known]:
        if tensor.shape is None or tensor.shapeSignature is not None or text(tensor.name).startswith("size/"):
            continue
        entries = _resolve_all(sizes, tensor.shape)
        if dynamic := _dynamic(entries):
            had = [int(d) for d in tensor.shape]
            tensor.shapeSignature = np.array([-1 if i in dynamic else d for i, d in enumerate(had)], np.int32)
            tensor.shape = np.array([sizes.default(d) for d in had], np.int32)
