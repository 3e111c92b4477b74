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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.probing.onnx_graph import RANDOM, OnnxGraph, declared, domains, load, ordered, outer_names, subgraphs
from convkit.probing.onnx_weights import KEPT_INTEGERS, Weight, elements, is_floating, told
from convkit.probing.signatures import Described, OperatorSignature

if TYPE_CHECKING:
    import onnx

__all__ = ["described", "write"]

_MOST_PLACES = 20
_MOST_WEIGHTS = 1 << 26
"""Elements that the large constants of several operators may have in one model."""


def described(path: str) -> dict[str, Any]:
    """The model's structure and distinct signatures, as JSON."""
    structure, probes = _probes(path, _stamp(path))
    return Described(structure, tuple(found.signature() for found in probes.values())).to_json()


def write(path: str, wanted: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """Writes models of some probes that share nothing.

    Args:
        path: The model that they are of.
        wanted: By the file to write the digests of the probes that go into it.

    Returns:
        By file, for each probe, the names that its results have there ("outputs"), and the inputs with the names of the model's
        values that they stand for ("inputs"); a file is missing where its probes are too large for one.
    """
    import onnx

    _, probes = _probes(path, _stamp(path))
    by_digest = {found.digest: found for found in probes.values() if found.model is not None}
    written = {}
    for file, digests in wanted.items():
        members = [by_digest[digest] for digest in digests]
        if len(members) > 1 and sum(elements(w.shape) for m in members for w in m.generated) > _MOST_WEIGHTS:
            continue
        model, prefixes = _together([member.complete() for member in members])
        onnx.save(model, file)
        written[file] = [
            {
                "outputs": [value.name for value in model.graph.output if value.name.startswith(own)],
                "inputs": {own + name: value for name, value in member.origins.items()},
            }
            for own, member in zip(prefixes, members, strict=True)
        ]
    return written


def _together(models: Sequence[onnx.ModelProto]) -> tuple[onnx.ModelProto, list[str]]:
    """Several models with the same operator sets as one, and what the names of each one's values begin with.

    Their dynamic dimensions have one name where they had: of dozens of names no converter could tell which size is which.
    """
    import onnx

    merged = onnx.ModelProto(ir_version=models[0].ir_version, producer_name="convkit")
    prefixes = [f"p{position}_" for position in range(len(models))]
    versions: dict[str, int] = {}
    merged.graph.name = "probes"
    for own, model in zip(prefixes, models, strict=True):
        graph = model.graph
        computed = (name for node in graph.node for name in node.output if name)
        names = [*computed, *(value.name for value in (*graph.input, *graph.initializer))]
        for node in graph.node:  # onnx.compose.add_prefix leaves what branches capture as it is
            _rename(node, {name: own + name for name in names})
        for value in (*graph.input, *graph.output, *graph.initializer):
            value.name = own + value.name
        versions |= {o.domain: o.version for o in model.opset_import}
        for part in ("node", "input", "output", "initializer"):
            getattr(merged.graph, part).extend(getattr(graph, part))
    merged.opset_import.extend(onnx.OperatorSetIdProto(domain=d, version=v) for d, v in sorted(versions.items()))
    return merged, prefixes


@dataclass
class _Probe:
    """A signature, and the model that it comes to.

    Attributes:
        model: The model but for its large constants; None where there is none.
        generated: The large constants: name, element type, shape, and what is known of the values.
        origins: The inputs of that model → the values of the whole model that they stand for.
    """

    operator: str
    digest: str = ""
    model: onnx.ModelProto | None = None
    generated: list[Weight] = field(default_factory=list)
    obstacle: str = ""
    origins: dict[str, str] = field(default_factory=dict)
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
    model = load(path)
    walk = _Walk(model)
    found: dict[str, _Probe] = {}
    for node in model.graph.node:
        if node.op_type == "Constant" and not node.domain:
            continue
        probe = walk.probe(node)
        known = found.setdefault(f"{probe.operator} {probe.digest or probe.obstacle}", probe)
        known.where.append(node.name or next(iter(node.output), ""))
    return walk.structure(), found


class _Walk(OnnxGraph):
    """One model, whose nodes are turned into probes."""

    def structure(self) -> str:
        """A digest of the model without the values of its weights: what a trace of it depends on."""
        import onnx

        graph = onnx.GraphProto(node=self.model.graph.node, input=self.inputs, output=self.model.graph.output)
        digest = hashlib.sha256(repr(sorted(self.opsets.items())).encode())
        digest.update(graph.SerializeToString(deterministic=True))
        for name in sorted(self.constants):
            tensor = self.constants[name]
            digest.update(f"{name} {tensor.data_type} {list(tensor.dims)}".encode())
            integral = not is_floating(tensor.data_type) and tensor.data_location != onnx.TensorProto.EXTERNAL
            if integral and elements(tensor.dims) <= KEPT_INTEGERS:
                digest.update(tensor.SerializeToString(deterministic=True))
        return digest.hexdigest()[:32]

    def probe(self, node: onnx.NodeProto) -> _Probe:
        """The probe of a node, without its place."""
        name = node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}::{node.op_type}"
        if node.op_type in RANDOM:
            return _Probe(name, obstacle="its results are random")
        given = list(dict.fromkeys(n for n in outer_names(node) if n))
        if all(n in self.constants for n in given):
            return _Probe(name, obstacle="it computes a constant")
        if all(self.chain(n) is not None for n in node.output if n) and not self.results & set(node.output):
            return _Probe(name, obstacle="it computes a size, as a part of the operators that need it")
        probe = self._built(name, node, given, self.named) or self._built(name, node, given, self.fixed_types())
        return probe or _Probe(name, obstacle="not all shapes and dtypes around it are known")

    def _built(self, name: str, node: onnx.NodeProto, given: Sequence[str], types: Mapping[str, onnx.TypeProto]) -> _Probe | None:
        """The probe with these types; None where one that it needs is not known."""
        import onnx

        chains = {n: c for n in given if n not in self.constants and (c := self.chain(n)) is not None and self.is_size(n)}
        nodes = [*ordered(chains.values()), node]
        own = {n for inner in nodes for n in inner.output if n}
        outer = list(dict.fromkeys(n for inner in nodes for n in outer_names(inner) if n and n not in own))
        renamed = {n: f"probe_c{k}" if n in self.constants else f"probe_x{k}" for k, n in enumerate(outer)}
        renamed |= {n: f"probe_v{k}" for k, n in enumerate(n for inner in nodes for n in inner.output if n)}
        symbols: dict[str, str] = {}
        graph = onnx.GraphProto(name="probe")
        generated = []
        for n in outer:
            if n in self.constants:
                weight = told(
                    self.constants[n], renamed[n], [(node.op_type, k) for k, name in enumerate(node.input) if name == n]
                )
                if weight is None:
                    return None
                if isinstance(weight, Weight):
                    generated.append(weight)
                else:
                    graph.initializer.append(weight)
                continue
            info = declared(renamed[n], types.get(n), symbols)
            if info is None:
                return None
            graph.input.append(info)
        for n in node.output:
            if n:
                info = declared(renamed[n], types.get(n), symbols, is_result=True)
                if info is None:
                    return None
                graph.output.append(info)
        graph.node.extend(_canonical(inner, renamed) for inner in nodes)
        model = onnx.ModelProto(ir_version=self.model.ir_version, graph=graph, producer_name="convkit")
        used = set(domains(graph.node))
        model.opset_import.extend(
            onnx.OperatorSetIdProto(domain=d, version=v) for d, v in sorted(self.opsets.items()) if d in used or not d
        )
        if not all(value.type.tensor_type.HasField("shape") for value in graph.output):
            model = onnx.shape_inference.infer_shapes(model, data_prop=True)
            del model.graph.value_info[:]
        weights = json.dumps([(w.element, w.shape, w.limits, w.positive) for w in generated])
        digest = hashlib.sha256(model.SerializeToString(deterministic=True) + weights.encode()).hexdigest()[:32]
        origins = {renamed[n]: n for n in outer if n not in self.constants}
        return _Probe(name, digest, model, generated, origins=origins)


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
    for graph in subgraphs(node):
        own = {v.name for v in graph.input} | {t.name for t in graph.initializer} | {n for i in graph.node for n in i.output}
        inner = {old: new for old, new in renamed.items() if old not in own}
        for body in graph.node:
            _rename(body, inner)
        for value in graph.output:
            value.name = inner.get(value.name, value.name)
