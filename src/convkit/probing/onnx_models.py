"""Every distinct operator signature of an ONNX model as a model of its own. Worker side; needs onnx and numpy only.

A probe has one operator with its attributes and subgraphs. What the operator is given decides the rest:

* a constant that is an integer, or small, keeps its value (axes, pads, shapes, scales); of other weights the dtype, the shape and
  the sign are kept, so that models with other weights have the same probes;
* sizes that the model computes from shapes are computed in the probe too, by the same nodes: to a converter they are no data;
* all else is an input, with the model's dynamic dimensions where inference knows every size by name, else with fixed sizes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.probing.onnx_weights import KEPT_INTEGERS, Weight, elements, is_floating, told
from convkit.probing.signatures import Described, OperatorSignature

if TYPE_CHECKING:
    import onnx

__all__ = ["described", "write"]

_LARGEST_DATA = 1024
"""Elements up to which a constant is handed to shape inference as data."""
_LONGEST_CHAIN = 64
"""Nodes of shape arithmetic that a probe takes along at most."""
_MOST_PLACES = 20

_RANDOM = frozenset(("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"))
_SHAPES = frozenset(("Shape", "Size"))


def described(path: str) -> dict[str, Any]:
    """The model's structure and distinct signatures, as JSON."""
    structure, probes = _probes(path, _stamp(path))
    return Described(structure, tuple(found.signature() for found in probes.values())).to_json()


def write(path: str, wanted: Mapping[str, str]) -> None:
    """Writes the one-operator models with the given digests to the given files."""
    import onnx

    _, probes = _probes(path, _stamp(path))
    by_digest = {found.digest: found for found in probes.values() if found.model is not None}
    for digest, file in wanted.items():
        onnx.save(by_digest[digest].complete(), file)


@dataclass
class _Probe:
    """A signature, and the model that it comes to.

    Attributes:
        model: The model but for its large constants; None where there is none.
        generated: The large constants: name, element type, shape, and what is known of the values.
    """

    operator: str
    digest: str = ""
    model: onnx.ModelProto | None = None
    generated: list[Weight] = field(default_factory=list)
    obstacle: str = ""
    where: list[str] = field(default_factory=list)

    def signature(self) -> OperatorSignature:
        return OperatorSignature(
            self.operator, len(self.where), tuple(self.where[:_MOST_PLACES]), self.digest, self.digest, self.obstacle
        )

    def complete(self) -> onnx.ModelProto:
        """The model with values for its large constants: the same ones for the same digest."""
        import onnx

        assert self.model is not None
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.graph.initializer.extend(onnx.numpy_helper.from_array(w.array(), w.name) for w in self.generated)
        return model


def _stamp(path: str) -> tuple[int, int]:
    status = Path(path).stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=1)
def _probes(path: str, stamp: tuple[int, int]) -> tuple[str, dict[str, _Probe]]:
    """The model's structure, and its probes by operator and digest."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    if model.functions:
        model = onnx.inliner.inline_local_functions(model)
    walk = _Walk(model)
    found: dict[str, _Probe] = {}
    for node in model.graph.node:
        if node.op_type == "Constant" and not node.domain:
            continue
        probe = walk.probe(node)
        known = found.setdefault(f"{probe.operator} {probe.digest or probe.obstacle}", probe)
        known.where.append(node.name or next(iter(node.output), ""))
    return walk.structure(), found


class _Walk:
    """One model, whose nodes are turned into probes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._opsets = {o.domain: o.version for o in model.opset_import}
        self._producers = {name: node for node in model.graph.node for name in node.output if name}
        self._constants: dict[str, onnx.TensorProto] = {t.name: t for t in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and not node.domain and (tensor := _constant(node)) is not None:
                self._constants[node.output[0]] = tensor
        self._inputs = [i for i in model.graph.input if i.name not in self._constants]
        self._chains: dict[str, tuple[onnx.NodeProto, ...] | None] = {}
        self._results = {o.name for o in model.graph.output}
        self._named = self._inferred({})
        self._fixed: dict[str, onnx.TypeProto] | None = None

    def structure(self) -> str:
        """A digest of the model without the values of its weights: what a trace of it depends on."""
        import onnx

        graph = onnx.GraphProto(node=self._model.graph.node, input=self._inputs, output=self._model.graph.output)
        digest = hashlib.sha256(repr(sorted(self._opsets.items())).encode())
        digest.update(graph.SerializeToString(deterministic=True))
        for name in sorted(self._constants):
            tensor = self._constants[name]
            digest.update(f"{name} {tensor.data_type} {list(tensor.dims)}".encode())
            integral = not is_floating(tensor.data_type) and tensor.data_location != onnx.TensorProto.EXTERNAL
            if integral and elements(tensor.dims) <= KEPT_INTEGERS:
                digest.update(tensor.SerializeToString(deterministic=True))
        return digest.hexdigest()[:32]

    def probe(self, node: onnx.NodeProto) -> _Probe:
        """The probe of a node, without its place."""
        name = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
        if node.op_type in _RANDOM:
            return _Probe(name, obstacle="its results are random")
        given = list(dict.fromkeys(n for n in _outer_names(node) if n))
        if all(n in self._constants for n in given):
            return _Probe(name, obstacle="it computes a constant")
        if all(self._chain(n) is not None for n in node.output if n) and not self._results & set(node.output):
            return _Probe(name, obstacle="it computes a size, as a part of the operators that need it")
        probe = self._built(name, node, given, self._named) or self._built(name, node, given, self._fixed_types())
        return probe or _Probe(name, obstacle="not all shapes and dtypes around it are known")

    def _fixed_types(self) -> dict[str, onnx.TypeProto]:
        """The types of all values where every dynamic dimension of the model's inputs has a size."""
        if self._fixed is None:
            sizes = {
                (value.name, axis): 2 if axis == 0 else 32
                for value in self._inputs
                for axis, dim in enumerate(value.type.tensor_type.shape.dim)
                if not dim.HasField("dim_value")
            }
            self._fixed = self._inferred(sizes)
        return self._fixed

    def _built(self, name: str, node: onnx.NodeProto, given: Sequence[str], types: Mapping[str, onnx.TypeProto]) -> _Probe | None:
        """The probe with these types; None where one that it needs is not known."""
        import onnx

        chains = {n: c for n in given if n not in self._constants and (c := self._chain(n)) is not None and self._is_size(n)}
        nodes = [*_ordered(chains.values()), node]
        own = {n for inner in nodes for n in inner.output if n}
        outer = list(dict.fromkeys(n for inner in nodes for n in _outer_names(inner) if n and n not in own))
        renamed = {n: f"probe_c{k}" if n in self._constants else f"probe_x{k}" for k, n in enumerate(outer)}
        renamed |= {n: f"probe_v{k}" for k, n in enumerate(n for inner in nodes for n in inner.output if n)}
        symbols: dict[str, str] = {}
        graph = onnx.GraphProto(name="probe")
        generated = []
        for n in outer:
            if n in self._constants:
                weight = told(
                    self._constants[n], renamed[n], [(node.op_type, k) for k, name in enumerate(node.input) if name == n]
                )
                if weight is None:
                    return None
                if isinstance(weight, Weight):
                    generated.append(weight)
                else:
                    graph.initializer.append(weight)
                continue
            info = _declared(renamed[n], types.get(n), symbols)
            if info is None:
                return None
            graph.input.append(info)
        for n in node.output:
            if n:
                info = _declared(renamed[n], types.get(n), symbols, is_result=True)
                if info is None:
                    return None
                graph.output.append(info)
        graph.node.extend(_canonical(inner, renamed) for inner in nodes)
        model = onnx.ModelProto(ir_version=self._model.ir_version, graph=graph, producer_name="convkit")
        used = set(_domains(graph.node))
        model.opset_import.extend(
            onnx.OperatorSetIdProto(domain=d, version=v) for d, v in sorted(self._opsets.items()) if d in used or not d
        )
        if not all(value.type.tensor_type.HasField("shape") for value in graph.output):
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
            del model.graph.value_info[:]
        weights = json.dumps([(w.element, w.shape, w.limits, w.positive) for w in generated])
        digest = hashlib.sha256(model.SerializeToString(deterministic=True) + weights.encode()).hexdigest()[:32]
        return _Probe(name, digest, model, generated)

    def _is_size(self, name: str) -> bool:
        """Whether a value may be a size, a shape, an axis: few numbers, of rank 0 or 1."""
        kind = self._named.get(name)
        return kind is not None and kind.tensor_type.HasField("shape") and len(kind.tensor_type.shape.dim) <= 1

    def _chain(self, name: str) -> tuple[onnx.NodeProto, ...] | None:
        """The nodes that compute a value from shapes and constants alone, in order; None where it comes from data."""
        if name in self._constants:
            return ()
        if name not in self._chains:
            self._chains[name] = None  # a cycle in a broken file ends here
            self._chains[name] = self._computed_chain(name)
        return self._chains[name]

    def _computed_chain(self, name: str) -> tuple[onnx.NodeProto, ...] | None:
        node = self._producers.get(name)
        if node is None or node.op_type in _RANDOM:
            return None
        if node.op_type in _SHAPES and not node.domain:
            return (node,)
        parts = []
        for given in filter(None, _outer_names(node)):
            part = self._chain(given)
            if part is None:
                return None
            parts.append(part)
        chain = (*_ordered(parts), node)
        return chain if len(chain) <= _LONGEST_CHAIN else None

    def _inferred(self, sizes: Mapping[tuple[str, int], int]) -> dict[str, onnx.TypeProto]:
        """The types of the main graph's values, with these sizes for dimensions of its inputs. Weights are not copied."""
        import onnx

        graph = onnx.GraphProto(name="inferred")
        graph.node.extend(n for n in self._model.graph.node if n.op_type != "Constant" or n.domain)
        for value in self._inputs:
            own = graph.input.add()
            own.CopyFrom(value)
            for axis, dim in enumerate(own.type.tensor_type.shape.dim):
                if (value.name, axis) in sizes:
                    dim.dim_value = sizes[value.name, axis]
        for name, tensor in self._constants.items():
            small = elements(tensor.dims) <= _LARGEST_DATA and tensor.data_location != onnx.TensorProto.EXTERNAL
            if small:
                graph.initializer.add().CopyFrom(tensor)
                graph.initializer[-1].name = name
            else:
                graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
        if not sizes:
            graph.value_info.extend(self._model.graph.value_info)
            graph.output.extend(self._model.graph.output)
        model = onnx.ModelProto(ir_version=self._model.ir_version, graph=graph, opset_import=self._model.opset_import)
        try:
            graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        except (onnx.shape_inference.InferenceError, RuntimeError):
            graph = model.graph
        return {v.name: v.type for v in [*self._model.graph.value_info, *graph.value_info, *graph.input, *graph.output]}


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


def _graphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _outer_names(node: onnx.NodeProto) -> Iterator[str]:
    """What a node, and the nodes of its subgraphs, take from around it."""
    yield from node.input
    for graph in _graphs(node):
        own = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {n for i in graph.node for n in i.output}
        for inner in graph.node:
            yield from (n for n in _outer_names(inner) if n and n not in own)
        yield from (v.name for v in graph.output if v.name not in own)


def _domains(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    for node in nodes:
        yield node.domain
        for graph in _graphs(node):
            yield from _domains(graph.node)


def _ordered(chains: Iterable[Sequence[onnx.NodeProto]]) -> list[onnx.NodeProto]:
    """The nodes of several chains, each once; every chain is in order."""
    return list({id(node): node for chain in chains for node in chain}.values())


def _canonical(node: onnx.NodeProto, renamed: Mapping[str, str]) -> onnx.NodeProto:
    """A copy of a node that tells nothing of the model that it is from."""
    import onnx

    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    _rename(copy, renamed)
    attributes = sorted(copy.attribute, key=lambda a: a.name)
    del copy.attribute[:]
    copy.attribute.extend(attributes)
    return copy


def _rename(node: onnx.NodeProto, renamed: Mapping[str, str]) -> None:
    for values in (node.input, node.output):
        for k, name in enumerate(values):
            values[k] = renamed.get(name, name)
    node.name = node.doc_string = ""
    del node.metadata_props[:]
    for graph in _graphs(node):
        own = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {n for i in graph.node for n in i.output}
        inner = {old: new for old, new in renamed.items() if old not in own}
        for body in graph.node:
            _rename(body, inner)
        for value in graph.output:
            value.name = inner.get(value.name, value.name)


def _declared(
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
