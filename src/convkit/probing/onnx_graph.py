"""An ONNX model's main graph as those see it who take parts of it: types, constants, and what computes sizes. onnx only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from convkit.probing.onnx_weights import elements

if TYPE_CHECKING:
    import onnx

__all__ = ["RANDOM", "OnnxGraph", "declared", "domains", "load", "ordered", "outer_names", "subgraphs"]

_LARGEST_DATA = 1024
"""Elements up to which a constant is handed to shape inference as data."""
_LONGEST_CHAIN = 64
"""Nodes of shape arithmetic that a probe takes along at most."""

RANDOM = frozenset(("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"))
_SHAPES = frozenset(("Shape", "Size"))


def load(path: str) -> onnx.ModelProto:
    """The model without its external weights, its functions inlined."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    return onnx.inliner.inline_local_functions(model) if model.functions else model


class OnnxGraph:
    """One model.

    Attributes:
        model, opsets: Itself, and its opset versions by domain.
        constants: Initializers, and what Constant nodes hold, by name.
        inputs: Its inputs that are no constants.
        results: The names of its outputs.
        named: The types of the main graph's values, as far as inference goes, with dynamic dimensions by name.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.opsets = {o.domain: o.version for o in model.opset_import}
        self._producers = {name: node for node in model.graph.node for name in node.output if name}
        self.constants: dict[str, onnx.TensorProto] = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and not node.domain and (tensor := _constant(node)) is not None:
                self.constants[node.output[0]] = tensor
        self.inputs = [i for i in model.graph.input if i.name not in self.constants]
        self._chains: dict[str, tuple[onnx.NodeProto, ...] | None] = {}
        self.results = {o.name for o in model.graph.output}
        self.named = self._inferred({})
        self._fixed: dict[str, onnx.TypeProto] | None = None

    def fixed_types(self) -> dict[str, onnx.TypeProto]:
        """The types of all values where every dynamic dimension of the model's inputs has a size."""
        if self._fixed is None:
            sizes = {
                (value.name, axis): 2 if axis == 0 else 32
                for value in self.inputs
                for axis, dim in enumerate(value.type.tensor_type.shape.dim)
                if not dim.HasField("dim_value")
            }
            self._fixed = self._inferred(sizes)
        return self._fixed

    def is_size(self, name: str) -> bool:
        """Whether a value may be a size, a shape, an axis: few numbers, of rank 0 or 1."""
        kind = self.named.get(name)
        return kind is not None and kind.tensor_type.HasField("shape") and len(kind.tensor_type.shape.dim) <= 1

    def chain(self, name: str) -> tuple[onnx.NodeProto, ...] | None:
        """The nodes that compute a value from shapes and constants alone, in order; None where it comes from data."""
        if name in self.constants:
            return ()
        if name not in self._chains:
            self._chains[name] = None  # a cycle in a broken file ends here
            self._chains[name] = self._computed_chain(name)
        return self._chains[name]

    def _computed_chain(self, name: str) -> tuple[onnx.NodeProto, ...] | None:
        node = self._producers.get(name)
        if node is None or node.op_type in RANDOM:
            return None
        if node.op_type in _SHAPES and not node.domain:
            return (node,)
        parts = []
        for given in filter(None, outer_names(node)):
            part = self.chain(given)
            if part is None:
                return None
            parts.append(part)
        chain = (*ordered(parts), node)
        return chain if len(chain) <= _LONGEST_CHAIN else None

    def _inferred(self, sizes: Mapping[tuple[str, int], int]) -> dict[str, onnx.TypeProto]:
        """The types of the main graph's values, with these sizes for dimensions of its inputs. Weights are not copied."""
        import onnx

        graph = onnx.GraphProto(name="inferred")
        graph.node.extend(n for n in self.model.graph.node if n.op_type != "Constant" or n.domain)
        for value in self.inputs:
            own = graph.input.add()
            own.CopyFrom(value)
            for axis, dim in enumerate(own.type.tensor_type.shape.dim):
                if (value.name, axis) in sizes:
                    dim.dim_value = sizes[value.name, axis]
        for name, tensor in self.constants.items():
            small = elements(tensor.dims) <= _LARGEST_DATA and tensor.data_location != onnx.TensorProto.EXTERNAL
            if small:
                graph.initializer.add().CopyFrom(tensor)
                graph.initializer[-1].name = name
            else:
                graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
        if not sizes:
            graph.value_info.extend(self.model.graph.value_info)
            graph.output.extend(self.model.graph.output)
        model = onnx.ModelProto(ir_version=self.model.ir_version, graph=graph, opset_import=self.model.opset_import)
        try:
            graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, RuntimeError):
            graph = model.graph
        return {v.name: v.type for v in [*self.model.graph.value_info, *graph.value_info, *graph.input, *graph.output]}


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """What a Constant node holds, as a tensor."""
    import numpy as np
    import onnx

    if len(node.attribute) != 1:
        return None
    (held,) = node.attribute
    if held.name == "value":
        return held.t
    value = onnx.helper.get_attribute_value(held)
    dtypes = {"value_int": np.int64, "value_ints": np.int64, "value_float": np.float32, "value_floats": np.float32}
    if held.name not in dtypes:
        return None
    return onnx.numpy_helper.from_array(np.array(value, dtypes[held.name]), node.output[0])


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def outer_names(node: onnx.NodeProto) -> Iterator[str]:
    """What a node, and the nodes of its subgraphs, take from around it."""
    yield from node.input
    for graph in subgraphs(node):
        own = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {n for i in graph.node for n in i.output}
        for inner in graph.node:
            yield from (n for n in outer_names(inner) if n and n not in own)
        yield from (v.name for v in graph.output if v.name not in own)


def domains(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield node.domain
        for graph in subgraphs(node):
            yield from domains(graph.node)


def ordered(chains: Iterable[Sequence[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    """The nodes of several chains, each once; every chain is in order."""
    return list({id(node): node for chain in chains for node in chain}.values())


def declared(
    name: str, kind: onnx.TypeProto | None, symbols: dict[str, str], is_result: bool = False
) -> onnx.ValueInfoProto | None:
    """A tensor's declaration under names that are the same in every model; None where it cannot be an edge of a model."""
    import onnx

    if kind is None or kind.WhichOneof("value") != "tensor_type" or not kind.tensor_type.elem_type:
        return None
    tensor = kind.tensor_type
    if not tensor.HasField("shape"):
        return onnx.helper.make_tensor_value_info(name, tensor.elem_type, None) if is_result else None
    dims: list[int | str | None] = []
    for dim in tensor.shape.dim:
        if dim.HasField("dim_value"):
            dims.append(dim.dim_value)
        elif dim.dim_param.strip("?") and not dim.dim_param.startswith("unk__"):
            dims.append(symbols.setdefault(dim.dim_param, f"d{len(symbols)}"))
        elif is_result:
            dims.append(None)
        else:
            return None
    return onnx.helper.make_tensor_value_info(name, tensor.elem_type, dims)
