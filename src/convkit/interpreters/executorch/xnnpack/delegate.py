"""A payload of XNNPACK as a module that computes its graph."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch

from convkit.interpreters.executorch.memory import Memory
from convkit.interpreters.executorch.method_module import register
from convkit.interpreters.executorch.program import Method, Program, TensorValue
from convkit.interpreters.executorch.xnnpack import quantization
from convkit.interpreters.executorch.xnnpack.layout import NHWC, Laid
from convkit.interpreters.executorch.xnnpack.operators.matrix import TRANSPOSED_FILTER
from convkit.interpreters.executorch.xnnpack.payload import ABSENT, PAYLOAD_ID, Graph, Node, PerChannel, PerToken, Value, parsed
from convkit.interpreters.executorch.xnnpack.table import handlers
from convkit.interpreters.operators import UnsupportedError
from convkit.readers.damage import DamagedFileError

__all__ = ["XnnpackModule", "delegates", "unknown_nodes"]

_TRANSPOSED_FILTERS = {"DepthwiseConv2d": (1, 2, 3, 0), "ConvTranspose2d": (1, 2, 3, 0), "Conv2d": NHWC}
"""The axes of torch's filters in XNNPACK's order."""


class XnnpackModule(torch.nn.Module):  # type: ignore[misc]
    """Computes a delegate; see `machine.DelegateRunner`.

    Raises:
        DamagedFileError: A constant lies outside of the file.
        UnsupportedError: A constant's datatype is not known.
    """

    def __init__(self, program: Program, graph: Graph) -> None:
        super().__init__()
        self._graph = graph
        self.inputs = _positions(graph, graph.inputs)
        self.outputs = _positions(graph, graph.outputs)
        self._constants = {}
        orders = _filter_orders(graph)
        for index, value in graph.values.items():
            if value.constant:
                numbers = quantization.constant(value, *_data(program, graph, value))
                order = orders.get(index, tuple(range(numbers.ndim)))
                register(self, f"constant_{index}", numbers.permute([order.index(a) for a in range(len(order))]).contiguous())
                self._constants[index] = order

    def run(self, method: Method, arguments: Sequence[int], memory: Memory) -> list[torch.Tensor]:
        """The delegate's outputs from what memory holds of its inputs."""
        values: dict[int, Laid] = {i: Laid(getattr(self, f"constant_{i}"), order) for i, order in self._constants.items()}
        for index in self._graph.inputs:
            value = self._graph.values[index]
            position = arguments[value.external]
            values[index] = _entering(memory.read(position), method.tensor(position), value)
        for node in self._graph.nodes:
            self._compute(node, values)
        return [
            _leaving(values[index], method.tensor(arguments[value.external]), value)
            for index, value in ((i, self._graph.values[i]) for i in self._graph.outputs)
        ]

    def _compute(self, node: Node, values: dict[int, Laid]) -> None:
        handler = handlers()[node.kind]
        given: dict[str, Any] = {
            name.removesuffix("_id"): None if index == ABSENT else _computed(values, index)
            for name, index in node.fields.items()
            if name.endswith("_id") and not name.startswith("output")
        }
        if "sizes" in _parameters(node.kind):
            given["sizes"] = self._graph.values[node["input_id"]].sizes
        results = handler(node, **given)
        results = results if isinstance(results, tuple) else (results,)
        outputs = [index for name, index in node.fields.items() if name.startswith("output") and name.endswith("_id")]
        for index, result in zip(outputs, results, strict=True):
            x = result.tensor if node.limits is None else _clamped(result.tensor, *node.limits)
            values[index] = self._stored(result.with_tensor(x), self._graph.values[index])

    @staticmethod
    def _stored(result: Laid, value: Value) -> Laid:
        if value.quantization is None:
            return result
        if isinstance(value.quantization, PerToken):  # its axes are those of the value
            return Laid.plain(quantization.rounded(result.value, value))
        return result.with_tensor(quantization.rounded(result.tensor, value))


@cache
def _parameters(kind: str) -> frozenset[str]:
    return frozenset(inspect.signature(handlers()[kind]).parameters)


def _computed(values: Mapping[int, Laid], index: int) -> Laid:
    if index not in values:
        raise DamagedFileError(f"the XNNPACK graph reads value {index} before it is computed")
    return values[index]


def _clamped(x: torch.Tensor, low: float, high: float) -> torch.Tensor:
    below, above = low != float("-inf"), high != float("inf")
    if below and not above and low == 0:
        return torch.relu(x)
    if not below and not above:
        return x
    return torch.clamp(x, low if below else None, high if above else None)


def _entering(x: torch.Tensor, tensor: TensorValue, value: Value) -> Laid:
    """An argument: its axes are in the order that memory has them in, and XNNPACK knows no tensors without axes."""
    x = quantization.from_integers(x, value)
    if x.ndim == 0 and len(value.sizes) == 1:
        x = x.reshape(1)
    return Laid(x, tensor.dim_order if len(tensor.dim_order) == x.ndim else tuple(range(x.ndim)))


def _leaving(laid: Laid, tensor: TensorValue, value: Value) -> torch.Tensor:
    if len(tensor.dim_order) != len(laid.order):
        return quantization.to_integers(laid.value.reshape(tensor.sizes), value)
    order = tensor.dim_order
    return quantization.to_integers(laid.permuted([order.index(axis) for axis in range(len(order))]), value)


def _positions(graph: Graph, indices: Sequence[int]) -> tuple[int, ...]:
    found = tuple(graph.values[i].external for i in indices)
    if ABSENT in found:
        raise DamagedFileError("an argument of the XNNPACK graph has no position")
    return found


def _data(program: Program, graph: Graph, value: Value) -> tuple[bytes, bytes]:
    scales = value.quantization.scales if isinstance(value.quantization, PerChannel) else 0
    return _constant_data(program, graph, value.constant), _constant_data(program, graph, scales) if scales else b""


def _constant_data(program: Program, graph: Graph, index: int) -> bytes:
    constant = graph.constants[index]
    if constant.key:
        data = program.named(constant.key)
        if data is None:
            raise UnsupportedError(f"the constant {constant.key[:12]}… is in another file (.ptd)")
        return data
    if constant.offset + constant.size > len(graph.data):
        raise DamagedFileError("a constant of XNNPACK lies behind its payload")
    return graph.data[constant.offset : constant.offset + constant.size]


def _filter_orders(graph: Graph) -> dict[int, tuple[int, ...]]:
    """The order that filters have when they are stored as torch has them."""
    found: dict[int, tuple[int, ...]] = {}
    for node in graph.nodes:
        if node.kind in _TRANSPOSED_FILTERS and len(graph.values[node["filter_id"]].sizes) == 4:
            found[node["filter_id"]] = _TRANSPOSED_FILTERS[node.kind]
        elif node.kind == "FullyConnected" and node["flags"] & TRANSPOSED_FILTER:
            found[node["filter_id"]] = (1, 0)
    return found


def unknown_nodes(graph: Graph) -> list[str]:
    """The kinds of nodes that nothing computes."""
    return sorted({node.kind for node in graph.nodes} - set(handlers()))


def delegates(program: Program, method: Method) -> dict[int, Any]:
    """The delegates of a method that are XNNPACK's, by index.

    Raises:
        DamagedFileError: A payload is none.
    """
    return {
        index: XnnpackModule(program, parsed(delegate.payload))
        for index, delegate in enumerate(method.delegates)
        if delegate.id == PAYLOAD_ID
    }
