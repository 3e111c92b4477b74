"""TensorFlow's own graph optimizer (tensorflow/core/grappler) on the traced graph, and fused operators after it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from convkit.legalization.tfjs.fusing import fuse, name_biases

__all__ = ["optimized"]

_PASSES = ("constfold", "arithmetic", "dependency")


def optimized(function: Any, is_legal: Callable[[Any], bool]) -> Any:
    """The graph of a concrete function, optimized as far as TF.js runs the result.

    Args:
        function: A concrete function without variables.
        is_legal: Whether TF.js runs a node (a `NodeDef`).

    Returns:
        A `GraphDef` without control inputs; nodes that are no longer needed are gone.
    """
    graph = function.graph.as_graph_def()
    outputs = [tensor.name.partition(":")[0] for tensor in function.outputs]
    inputs = [tensor.name.partition(":")[0] for tensor in function.inputs]
    kept = {*inputs, *outputs}
    name_biases(graph)
    result = _clean(_run(graph, function), kept)
    if not all(is_legal(node) for node in result.node):
        result = _clean(graph, kept)
    fuse(result, kept)
    return _clean(result, kept)


def _run(graph: Any, function: Any) -> Any:
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    meta = meta_graph_pb2.MetaGraphDef()
    meta.graph_def.CopyFrom(graph)
    ends = meta.collection_def["train_op"].node_list.value
    ends.extend(t.name for t in (*function.outputs, *function.inputs))
    config = config_pb2.ConfigProto()
    options = config.graph_options.rewrite_options
    options.optimizers.extend(_PASSES)
    options.meta_optimizer_iterations = options.TWO
    options.min_graph_nodes = -1
    options.experimental_disable_folding_quantization_emulation = True
    try:
        return tf_optimizer.OptimizeGraph(config, meta)
    except tf.errors.OpError:
        return graph


def _clean(graph: Any, kept: set[str]) -> Any:
    """Without control inputs, private attributes and what nothing uses."""
    from tensorflow.core.framework import graph_pb2

    nodes = {node.name: node for node in graph.node}
    needed: set[str] = set()
    pending = [name for name in kept if name in nodes]
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending.extend(i.partition(":")[0] for i in nodes[name].input if not i.startswith("^"))
    result = graph_pb2.GraphDef(versions=graph.versions)
    result.library.CopyFrom(graph.library)
    for node in graph.node:
        if node.name in needed:
            _tidy(node)
            result.node.append(node)
    for function in result.library.function:
        for node in function.node_def:
            _tidy(node)
        _number_outputs(function)
        _separate_results(function)
    return result


def _number_outputs(function: Any) -> None:
    """Spells the further outputs of a node "node:1": of "node:indices:0" TF.js reads the number, and takes the first output.

    Source: tfjs-converter/src/operations/executors/utils.ts (parseNodeName).
    """
    nodes = {node.name: node for node in function.node_def}

    def numbered(reference: str) -> str:
        name, *rest = reference.split(":")
        if len(rest) < 2 or name not in nodes:
            return reference
        position = _position(nodes[name], rest[0]) + int(rest[1])
        return reference if position == int(rest[1]) else f"{name}:{position}"

    for node in function.node_def:
        node.input[:] = [numbered(reference) for reference in node.input]
    for key, reference in function.ret.items():
        function.ret[key] = numbered(reference)


def _position(node: Any, output: str) -> int:
    """The number of outputs of a node before the named one."""
    from tensorflow.python.framework import op_def_registry

    definition = op_def_registry.get(node.op)
    position = 0
    for argument in definition.output_arg if definition is not None else ():
        if argument.name == output:
            return position
        if argument.number_attr:
            position += node.attr[argument.number_attr].i
        elif argument.type_list_attr:
            position += len(node.attr[argument.type_list_attr].list.type)
        else:
            position += 1
    return 0


def _separate_results(function: Any) -> None:
    """Gives two results of one node a node each: TF.js remembers one output per node.

    Others stay as they are: a list is known by the identity of its tensor, which an Identity would copy, and loops free copies.
    Source: tfjs-converter/src/operations/operation_mapper.ts (mapFunction, `defaultOutput`).
    """
    makers = Counter(reference.partition(":")[0] for reference in function.ret.values())
    names = {node.name for node in function.node_def} | {argument.name for argument in function.signature.input_arg}
    for argument in function.signature.output_arg:
        if makers[function.ret[argument.name].partition(":")[0]] == 1:
            continue
        name = f"{argument.name}_result"
        while name in names:
            name += "_"
        names.add(name)
        node = function.node_def.add(name=name, op="Identity", input=[function.ret[argument.name]])
        node.attr["T"].type = argument.type
        function.ret[argument.name] = f"{name}:output:0"


def _tidy(node: Any) -> None:
    node.input[:] = [i for i in node.input if not i.startswith("^")]
    for key in [k for k in node.attr if k.startswith("_")]:
        del node.attr[key]
    node.ClearField("experimental_debug_info")
