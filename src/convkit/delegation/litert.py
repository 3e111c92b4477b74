"""What LiteRT's runtime gives to its XNNPACK delegate: asked of the runtime, which partitions a file when it prepares it.

Runs in LiteRT's process. After the preparation the runtime lists the nodes of the file, then a node for each partition with the
tensors that go in and come out; what lies between those is delegated. The delegate's own documentation of what it takes
(tensorflow/lite/delegates/xnnpack/README.md) depends on version, processor and flags: the runtime knows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convkit.delegation.shares import Operation, Operations, product_flops

if TYPE_CHECKING:
    from ai_edge_litert.interpreter import Interpreter

__all__ = ["measure", "measure_apart"]

_DELEGATE = "DELEGATE"
_MOVES = frozenset(
    (
        "TRANSPOSE", "RESHAPE", "SLICE", "STRIDED_SLICE", "PAD", "PADV2", "MIRROR_PAD", "CONCATENATION", "EXPAND_DIMS", "SQUEEZE",
        "GATHER", "GATHER_ND", "PACK", "UNPACK", "SHAPE", "SPLIT", "SPLIT_V", "TILE", "BROADCAST_TO", "CAST", "FILL",
        "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "REVERSE_V2", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE",
        "EMBEDDING_LOOKUP", "RANGE",
    )
)  # fmt: skip


def measure(path: str, sizes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """The shares of a file's main graph, as JSON.

    Args:
        path: The file.
        sizes: A shape for each input with dynamic dimensions, by its name: at their placeholder of 1 nothing would be computed.
    """
    return _operations(_prepared(path, sizes)).shares().to_json()


def measure_apart(path: str, sizes: Mapping[str, Sequence[int]], models: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """The same of each of several models that share nothing but the file.

    Args:
        path, sizes: As `measure` has them.
        models: For each of them the names of its results in the file's first signature.
    """
    interpreter = _prepared(path, sizes)
    found = _operations(interpreter)
    outputs = next(iter(interpreter._get_full_signature_list().values()))["outputs"]
    return [found.shares_of([outputs[name] for name in results]).to_json() for results in models]


def _prepared(path: str, sizes: Mapping[str, Sequence[int]]) -> Interpreter:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=path)
    for detail in interpreter.get_input_details():
        if detail["name"] in sizes:
            interpreter.resize_tensor_input(detail["index"], list(sizes[detail["name"]]))
    interpreter.allocate_tensors()
    return interpreter


def _operations(interpreter: Interpreter) -> Operations:
    nodes = interpreter._get_ops_details()
    own = [n for n in nodes if n["op_name"] != _DELEGATE]
    partitions = [n for n in nodes if n["op_name"] == _DELEGATE]
    producers = {int(t): n for n in own for t in n["outputs"]}
    taken: set[int] = set()
    for partition in partitions:
        taken |= _between(partition, producers)
    shapes = {d["index"]: [int(s) for s in d["shape"]] for d in interpreter.get_tensor_details()}
    computed = {*producers, *(int(d["index"]) for d in interpreter.get_input_details())}
    found = Operations("XNNPACK")
    found.partitions = len(partitions)
    for node in own:
        tensors = [int(t) for t in (*node["inputs"], *node["outputs"]) if int(t) in computed]
        found.add(Operation(node["op_name"], _flops(node, shapes), int(node["index"]) in taken), tensors)
    return found


def _between(partition: Mapping[str, Any], producers: Mapping[int, Mapping[str, Any]]) -> set[int]:
    """The nodes that compute a partition's results from what goes into it."""
    given, found = {int(t) for t in partition["inputs"]}, set[int]()
    ahead = [int(t) for t in partition["outputs"]]
    while ahead:
        node = producers.get(ahead.pop())
        if node is not None and int(node["index"]) not in found:
            found.add(int(node["index"]))
            ahead += [int(t) for t in node["inputs"] if int(t) >= 0 and int(t) not in given]
    return found


def _flops(node: Mapping[str, Any], shapes: Mapping[int, Sequence[int]]) -> int:
    kind = node["op_name"]
    inputs = [shapes.get(int(t), []) for t in node["inputs"] if int(t) >= 0]
    result = shapes.get(int(node["outputs"][0]), []) if len(node["outputs"]) else []
    if kind in _MOVES:
        return 0
    if kind in ("CONV_2D", "CONV_3D") and len(inputs) > 1:
        return product_flops(result, math.prod(inputs[1][1:]) if kind == "CONV_2D" else math.prod(inputs[1][:-1]))
    if kind == "DEPTHWISE_CONV_2D" and len(inputs) > 1:
        return product_flops(result, math.prod(inputs[1][1:3]))
    if kind == "TRANSPOSE_CONV" and len(inputs) > 2:
        return product_flops(inputs[2], math.prod(inputs[1][:3]))
    if kind in ("FULLY_CONNECTED", "BATCH_MATMUL") and inputs and inputs[0]:
        return product_flops(result, inputs[0][-1] if kind == "BATCH_MATMUL" else inputs[1][-1])
    return math.prod(result)
