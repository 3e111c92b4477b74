"""What XNNPACK has of an ExecuTorch program, from the file itself: its partitions are there as graphs. No framework."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from convkit.delegation.shares import Operation, Operations, Shares, product_flops
from convkit.interpreters.executorch.program import DelegateCall, Indices, KernelCall, Method, Program, TensorValue, Value
from convkit.interpreters.executorch.xnnpack.payload import PAYLOAD_ID, Graph, Node, parsed
from convkit.readers.executorch import SIGNATURE_METHOD

__all__ = ["measure", "measure_apart"]

# What moves data, reads sizes or checks: no arithmetic.
_MOVES = frozenset(
    (
        "StaticTranspose", "StaticReshape", "StaticSlice", "StaticConstantPad", "Concatenate2", "Concatenate3", "Concatenate4",
        "Concatenate5", "Copy", "aten::view_copy", "aten::permute_copy", "aten::slice_copy", "aten::cat", "aten::clone",
        "aten::expand_copy", "aten::squeeze_copy", "aten::unsqueeze_copy", "aten::select_copy", "aten::split_copy",
        "aten::constant_pad_nd", "aten::index_select", "aten::embedding", "aten::full", "aten::full_like", "aten::stack",
        "dim_order_ops::_to_dim_order_copy", "dim_order_ops::_clone_dim_order", "aten::_to_copy", "aten::copy", "aten::empty",
        "aten::split_with_sizes_copy",
    )
)  # fmt: skip
_CONVOLUTIONS = ("Conv2d", "ConvTranspose2d", "DepthwiseConv2d")
_BOOKKEEPING = ("executorch_prim::", "aten::sym_size", "aten::_local_scalar_dense")
"""Sizes and jumps: no work on tensors."""


def measure(path: Path) -> Shares:
    """The shares of a program's methods together, at the upper bounds of dynamic dimensions.

    Raises:
        DamagedFileError: The file leads out of its ranges.
    """
    return _operations(Program(path)).shares()


def measure_apart(path: Path, models: Sequence[Sequence[int]]) -> list[Shares]:
    """The same of each of several models that share nothing but the file.

    Args:
        path: The file.
        models: For each of them the positions of its results among the first method's.
    """
    program = Program(path)
    name = next(n for n in program.method_names if n != SIGNATURE_METHOD)
    found, outputs = _operations(program), program.method(name).outputs
    return [found.shares_of([(name, outputs[k]) for k in results]) for results in models]


def _operations(program: Program) -> Operations:
    found = Operations("XNNPACK")
    for name in program.method_names:
        if name == SIGNATURE_METHOD:
            continue
        method = program.method(name)
        for position, instruction in enumerate(method.instructions):
            if isinstance(instruction, KernelCall) and not instruction.operator.startswith(_BOOKKEEPING):
                kernel = instruction.operator.partition(".")[0]
                flops = _kernel_flops(kernel, method, instruction.arguments)
                found.add(Operation(kernel, flops, False), [(name, i) for i in _tensors(method, instruction.arguments)])
            elif isinstance(instruction, DelegateCall):
                delegate = method.delegates[instruction.delegate]
                found.partitions += 1
                if delegate.id == PAYLOAD_ID:
                    _add_delegated(found, parsed(delegate.payload), (name, position), instruction.arguments)
    return found


def _tensors(method: Method, arguments: Iterable[int]) -> Iterator[int]:
    """The tensors among values, those in lists of them too, but for constants."""
    for index in arguments:
        listed = _value(method, index)
        for found in listed.items if isinstance(listed, Indices) else (index,):
            value = _value(method, found)
            if isinstance(value, TensorValue) and not value.is_constant:
                yield found


def _value(method: Method, index: int) -> Value:
    """A value; None where there is none of that index."""
    return method.values[index] if 0 <= index < len(method.values) else None


def _kernel_flops(kernel: str, method: Method, arguments: Sequence[int]) -> int:
    tensors = [v for v in (method.values[i] for i in arguments if 0 <= i < len(method.values)) if isinstance(v, TensorValue)]
    if not tensors or kernel in _MOVES:
        return 0
    result = tensors[-1].sizes
    if kernel == "aten::convolution" and len(tensors) > 2:
        return product_flops(result, math.prod(tensors[1].sizes[1:]))
    if kernel in ("aten::mm", "aten::bmm") and len(tensors) > 2:
        return product_flops(result, tensors[0].sizes[-1])
    if kernel == "aten::addmm" and len(tensors) > 3:
        return product_flops(result, tensors[1].sizes[-1])
    return math.prod(result)


def _add_delegated(found: Operations, graph: Graph, call: tuple[str, int], arguments: Sequence[int]) -> None:
    """Adds a partition's operators. Its values go by the call and their ids, and by the call's arguments where they go out."""
    method, _ = call
    for key, value in graph.values.items():
        if not value.constant and value.external < len(arguments):
            found.join([(call, key), (method, arguments[value.external])])
    for node in graph.nodes:
        ids = [i for name, i in node.fields.items() if name.endswith("_id") and i in graph.values]
        found.add(Operation(node.kind, _node_flops(graph, node), True), [(call, i) for i in ids if not graph.values[i].constant])


def _node_flops(graph: Graph, node: Node) -> int:
    outputs = [i for name, i in node.fields.items() if name.startswith("output") and name.endswith("_id")]
    if not outputs or node.kind in _MOVES:
        return 0
    result = graph.values[outputs[0]].sizes
    if node.kind in _CONVOLUTIONS:
        window = node["kernel_height"] * node["kernel_width"]
        if node.kind == "ConvTranspose2d":  # every element of the input goes into a window of the output
            return product_flops(graph.values[node["input1_id"]].sizes, window * node["group_output_channels"])
        return product_flops(result, window * (1 if node.kind == "DepthwiseConv2d" else node["group_input_channels"]))
    if node.kind in ("FullyConnected", "BatchMatrixMultiply"):
        return product_flops(result, graph.values[node["input1_id"]].sizes[-1])
    if node.kind == "ScaledDotProductAttention":
        query, key = (graph.values[node[n]].sizes for n in ("query_id", "key_id"))
        return 2 * product_flops((*query[:-1], key[-2]), query[-1])
    return math.prod(result)
