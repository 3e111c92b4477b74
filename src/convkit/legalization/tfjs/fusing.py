"""Joins a convolution or a product of matrices with the scale, the bias and the activation behind it.

A scale goes into the weights; for the rest TF.js has kernels that compute the whole, on every backend. TensorFlow's own
optimizer (`remap`) joins less, and also what TF.js does not run (a hyperbolic tangent, Gelu). Sources:
tfjs-core/src/ops/fused_util.ts (applyActivation), tfjs-converter/src/operations/executors/convolution_executor.ts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["fuse", "name_biases"]

_FUSED = {"Conv2D": "_FusedConv2D", "DepthwiseConv2dNative": "FusedDepthwiseConv2dNative", "MatMul": "_FusedMatMul"}
_ACTIVATIONS = frozenset(("Relu", "Relu6", "Elu", "LeakyRelu", "Sigmoid"))
_BROKEN = {("FusedDepthwiseConv2dNative", "LeakyRelu")}
"""tfjs-converter's operator list has no slope for it, and its kernel makes NaN without."""
_ADDITIONS = frozenset(("Add", "AddV2", "BiasAdd"))


def fuse(graph: Any, kept: Iterable[str]) -> None:
    """Joins nodes of a `GraphDef`, in place; the joined node has the name of the last one, and what it no longer needs stays.

    Args:
        graph: Its functions stay as they are.
        kept: Names of the nodes that are inputs or outputs of the graph.
    """
    joining = _Joining(graph, frozenset(kept))
    for node in list(graph.node):
        if node.op in _FUSED:
            joining.join(node)


def name_biases(graph: Any) -> None:
    """Makes a BiasAdd of the sum of a convolution, or of a scaled one, and a list of constants; in place.

    TensorFlow's optimizer takes longer sums apart and puts them together in another order, and the bias away from its
    convolution with that; of a BiasAdd it does not.
    """
    joining = _Joining(graph, frozenset())
    for node in graph.node:
        if node.op in ("Add", "AddV2"):
            joining.name_bias(node)


class _Joining:
    """A graph, by the names of its nodes and by what reads them."""

    def __init__(self, graph: Any, kept: frozenset[str]) -> None:
        self._graph = graph
        self._kept = kept
        self._nodes = {node.name: node for node in graph.node}
        self._readers: dict[str, list[Any]] = defaultdict(list)
        for node in graph.node:
            for reference in node.input:
                self._readers[_name(reference)].append(node)

    def join(self, product: Any) -> None:
        """Joins one convolution or product of float32 numbers, channels last, with what follows it."""
        channels = self._channels(product)
        if channels is None or not _is_float_last(product):
            return
        while (node := self._only_reader(product)) is not None and node.op == "Mul" and self._scale(product, node, channels):
            self._replace(node, product)
        node = self._only_reader(product)
        bias = None if node is None or node.op not in _ADDITIONS else self._bias(product, node, channels)
        if bias is None:
            return
        product.input.append(bias)
        product.op = _FUSED[product.op]
        product.attr["num_args"].i = 1
        product.attr["fused_ops"].list.s.append(b"BiasAdd")
        self._replace(node, product)
        node = self._only_reader(product)
        if node is not None and node.op in _ACTIVATIONS and (product.op, node.op) not in _BROKEN:
            product.attr["fused_ops"].list.s.append(node.op.encode())
            if node.op == "LeakyRelu":
                product.attr["leakyrelu_alpha"].f = node.attr["alpha"].f
            self._replace(node, product)

    def name_bias(self, node: Any) -> None:
        """Makes a BiasAdd of a sum, if it is one."""
        for value, bias in (tuple(node.input), tuple(node.input)[::-1]):
            channels = self._unscaled_channels(value)
            constant = self._node(bias)
            if channels is not None and constant.op == "Const" and _sizes(constant) == [channels]:
                node.op = "BiasAdd"
                node.input[:] = [value, bias]
                return

    def _unscaled_channels(self, reference: str) -> int | None:
        """The channels of a product that has at most been multiplied by factors per channel; None for everything else."""
        node, factors = self._node(reference), []
        while node.op == "Mul":
            constants = [i for i in node.input if self._node(i).op == "Const"]
            if len(constants) != 1:
                return None
            factors += constants
            node = next(self._node(i) for i in node.input if i not in constants)
        channels = self._channels(node) if node.op in _FUSED and _is_float_last(node) else None
        return None if channels is None or any(self._per_channel(f, node, channels) is None for f in factors) else channels

    def _only_reader(self, node: Any) -> Any:
        """The node that alone reads the result of a node; None where there are others, or the graph's user."""
        readers = self._readers[node.name]
        return readers[0] if len(readers) == 1 and node.name not in self._kept else None

    def _replace(self, old: Any, new: Any) -> None:
        """Gives a node the name and the readers of the one that it has taken in."""
        for reference in old.input:
            self._readers[_name(reference)] = [r for r in self._readers[_name(reference)] if r is not old]
        self._graph.node.remove(old)
        del self._nodes[new.name]
        new.name = old.name
        self._nodes[new.name] = new

    def _node(self, reference: str) -> Any:
        return self._nodes[_name(reference)]

    def _channels(self, product: Any) -> int | None:
        """The size of the last dimension of a result; None where it depends on the model's inputs."""
        sizes = _sizes(self._node(product.input[1]))
        if product.op == "DepthwiseConv2dNative":
            sizes = [*sizes[:2], sizes[2] * sizes[3]] if len(sizes) == 4 else []
        if not sizes or min(sizes) <= 0:
            return None
        return sizes[0] if product.op == "MatMul" and _attribute(product, "transpose_b").b else sizes[-1]

    def _scale(self, product: Any, node: Any, channels: int) -> bool:
        """Multiplies the weights of a convolution by a factor per channel; whether both are constants."""
        factor = self._per_channel(self._other(product, node), product, channels)
        weights = self._node(product.input[1])
        if factor is None or weights.op != "Const" or product.op == "MatMul":
            return False
        values = _array(weights)
        shape = values.shape[2:] if product.op == "DepthwiseConv2dNative" else (1, channels)
        product.input[1] = self._constant(f"{weights.name}/scaled", values * factor.reshape(shape))
        return True

    def _bias(self, product: Any, node: Any, channels: int) -> str | None:
        """The reference to a list with a number per channel that a node adds; None where it adds something else."""
        other = self._other(product, node)
        if node.op == "BiasAdd":
            return other if _attribute(node, "data_format").s in (b"", b"NHWC") and node.input[1] == other else None
        values = self._per_channel(other, product, channels)
        if values is None:
            return None
        source = self._node(other)
        return other if _array(source).ndim == 1 else self._constant(f"{source.name}/channels", values)

    def _other(self, product: Any, node: Any) -> str:
        """The operand of a node with two that is not the product."""
        return str(node.input[1] if _name(node.input[0]) == product.name else node.input[0])

    def _per_channel(self, reference: str, product: Any, channels: int) -> np.ndarray | None:
        """A constant with a number for each of the channels: [channels], [1, …, channels] up to the rank of the product."""
        node = self._node(reference)
        sizes = _sizes(node) if node.op == "Const" else []
        rank = 2 if product.op == "MatMul" else 4
        if not sizes or len(sizes) > rank or sizes[-1] != channels or any(size != 1 for size in sizes[:-1]):
            return None
        return _array(node).reshape(-1)

    def _constant(self, name: str, values: np.ndarray) -> str:
        import tensorflow as tf

        while name in self._nodes:
            name += "_"
        node = self._graph.node.add(name=name, op="Const")
        node.attr["dtype"].type = _float32()
        node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(values.astype(np.float32)))
        self._nodes[name] = node
        return name


def _attribute(node: Any, key: str) -> Any:
    """An attribute, or an empty one: to ask a node for what it does not have would give it that."""
    from tensorflow.core.framework import attr_value_pb2

    return node.attr[key] if key in node.attr else attr_value_pb2.AttrValue()


def _sizes(node: Any) -> list[int]:
    """The shape of a constant, or of the placeholder of one; empty for other nodes."""
    shape = _attribute(node, "value").tensor.tensor_shape if node.op == "Const" else _attribute(node, "shape").shape
    return [int(dim.size) for dim in shape.dim] if node.op in ("Const", "Placeholder") else []


def _is_float_last(product: Any) -> bool:
    """Whether it computes float32 numbers, channels last."""
    return _attribute(product, "T").type == _float32() and _attribute(product, "data_format").s in (b"", b"NHWC")


def _array(constant: Any) -> np.ndarray:
    import tensorflow as tf

    return np.asarray(tf.make_ndarray(constant.attr["value"].tensor))


def _name(reference: str) -> str:
    return reference.lstrip("^").partition(":")[0]


def _float32() -> int:
    import tensorflow as tf

    return int(tf.float32.as_datatype_enum)
