"""An ONNX graph as a LiteRT file: traced by TensorFlow with its large weights as inputs, lowered, and the weights put in.

See `convkit.converters._litert_weights` for why the weights stay outside.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import tensorflow as tf

from convkit.converters._litert_weights import WeightSource, insert_weights
from convkit.interpreters.tensorflow.backend import TensorFlowBackend, tensorflow_dtype
from convkit.interpreters.tensorflow.importer import OnnxFunction
from convkit.interpreters.tensorflow.layout import for_litert
from convkit.legalization.onnx.folding import fold_into_convolutions
from convkit.loading.tensorflow import tensor_specs
from convkit.loading.tflite_signature import rename_edges
from convkit.signature import Signature, TensorSpec, dynamic_dim

__all__ = ["LoweringError", "write"]

_LARGE = 4096
"""Elements from which a constant stays outside: what shape arithmetic may look at is smaller."""

_WEIGHT_DTYPES = frozenset(
    ir.DataType[name] for name in ("FLOAT", "FLOAT16", "DOUBLE", "INT8", "UINT8", "INT16", "INT32", "INT64")
)


class LoweringError(Exception):
    """TFLiteConverter refuses the traced graph.

    Attributes:
        places: What it names: pairs of a place in the ONNX model ("" where it names none) and the TensorFlow operator.
        reason: Its message, in one line.
    """

    def __init__(self, places: tuple[tuple[str, str], ...], reason: str) -> None:
        super().__init__(reason)
        self.places, self.reason = places, reason


def write(model: ir.Model, signature: Signature, output: Path) -> None:
    """Writes a legal model as a LiteRT file with this signature.

    Raises:
        NodeError: An operator cannot be traced.
        LoweringError: TFLiteConverter refuses what was traced.
        ConversionError: The signature cannot be kept.
    """
    fold_into_convolutions(model)
    weights = _large_weights(model)
    try:
        _write(model, weights, signature, output)
    except LoweringError:
        # Some kernels want to see a constant while they are lowered. Small enough, and they may.
        if not weights or sum(v.const_value.nbytes for v in weights if v.const_value is not None) > _AFFORDABLE:
            raise
        _write(model, [], signature, output)


_AFFORDABLE = 64_000_000


def _large_weights(model: ir.Model) -> list[ir.Value]:
    return [
        value
        for value in model.graph.initializers.values()
        if value.const_value is not None
        and value.const_value.size > _LARGE
        and value.const_value.dtype in _WEIGHT_DTYPES
        and any(node.graph is model.graph for node, _ in value.uses())
    ]


def _write(model: ir.Model, weights: list[ir.Value], signature: Signature, output: Path) -> None:
    scopes: dict[str, str] = {}
    function = _traced(model, weights, signature, scopes)
    graph = function.graph.as_graph_def(add_shapes=False)
    own = len(signature.inputs) + len(weights)
    signature = replace(
        signature, outputs=tuple(_not_contradicted(o, t) for o, t in zip(signature.outputs, function.outputs, strict=True))
    )
    held = [*_captured(function, own), *_without_infinities(graph)]
    edge = [*function.inputs[:own], *held]
    output.write_bytes(_lowered(graph, edge, function.outputs, scopes))
    sources = [*(_source(value) for value in weights), *(_known(each) for each in held)]

    def edit(file: Any) -> None:
        insert_weights(file, sources)
        _give_ranks(file, signature)

    inputs, outputs = range(len(signature.inputs)), range(len(signature.outputs))
    rename_edges(output, signature, inputs=inputs, outputs=outputs, edit=edit)


def _not_contradicted(spec: TensorSpec, traced: Any) -> TensorSpec:
    """An output with the traced shape where its file declares another one: the runtime of the source does not mind either."""
    if spec.shape is None or traced.shape.rank is None:
        return spec
    pairs = list(zip(spec.shape, traced.shape, strict=False))
    fits = len(spec.shape) == traced.shape.rank and all(isinstance(mine, str) or size in (None, mine) for mine, size in pairs)
    sizes = [dynamic_dim(spec.name, axis) if size is None else int(size) for axis, size in enumerate(traced.shape)]
    return spec if fits else replace(spec, shape=tuple(sizes))


def _give_ranks(file: Any, signature: Signature) -> None:
    """Gives outputs whose rank the converter does not know the signature's."""
    graph = file.subgraphs[0]
    for index, spec in zip(graph.outputs, signature.outputs, strict=True):
        tensor = graph.tensors[int(index)]
        if not tensor.hasRank and spec.shape and tensor.shape is not None and not len(tensor.shape):
            tensor.shape = np.array([-1 if isinstance(d, str) else d for d in spec.shape], np.int32)


def _source(value: ir.Value) -> WeightSource:
    tensor = value.const_value
    assert tensor is not None
    return lambda: np.asarray(tensor.numpy())


def _traced(model: ir.Model, weights: list[ir.Value], signature: Signature, scopes: dict[str, str]) -> Any:
    """A concrete function of the model's inputs, then its large weights; `scopes` tells which node is called what in it."""
    count = len(signature.inputs)

    def edge(*tensors: Any) -> list[Any]:
        outside = dict(zip(weights, tensors[count:], strict=True))
        function = OnnxFunction(model, lambda: _Backend(outside, scopes))
        # An identity each, because one tensor may be two outputs, or an input.
        with for_litert():
            return [tf.identity(result) for result in function(*tensors[:count])]

    specs = tensor_specs(signature.inputs, [f"input_{k}" for k in range(count)])
    specs += [
        tf.TensorSpec(value.const_value.shape.numpy(), tensorflow_dtype(value.const_value.dtype), name=f"weight_{k}")
        for k, value in enumerate(weights)
        if value.const_value is not None
    ]
    return tf.function(edge, input_signature=specs, autograph=False).get_concrete_function()


class _Backend(TensorFlowBackend):
    """Keeps large weights outside, and every other constant in the graph (or the body of a loop) that uses it."""

    def __init__(self, outside: Mapping[ir.Value, Any], scopes: dict[str, str]) -> None:
        super().__init__()
        self._scopes = scopes
        self._graph = tf.compat.v1.get_default_graph()
        self._outside = outside
        self._inside: dict[tuple[int, ir.Value], Any] = {}

    def constant(self, value: ir.Value) -> Any:
        graph = tf.compat.v1.get_default_graph()
        if value in self._outside and graph is self._graph:
            return self._outside[value]
        key = id(graph), value
        if key not in self._inside:
            assert value.const_value is not None
            if value.const_value.dtype is ir.DataType.STRING:
                return super().constant(value)
            with graph.control_dependencies(None), graph.name_scope(None):
                self._inside[key] = tf.constant(value.const_value.numpy())
        return self._inside[key]

    @contextmanager
    def place(self, name: str) -> Iterator[Any]:
        with super().place(name) as scope:
            self._scopes[scope.rstrip("/")] = name
            yield scope


@dataclass(frozen=True)
class _Held:
    """A constant that has become an input; with what `convert_graphdef` asks of an input."""

    name: str
    array: np.ndarray

    @property
    def dtype(self) -> Any:
        return tf.as_dtype(self.array.dtype)

    @property
    def shape(self) -> Any:
        return tf.TensorShape(self.array.shape)


def _without_infinities(graph: Any) -> list[_Held]:
    """Makes inputs of a graph's constants with infinities: the converter would clamp them to the largest numbers."""
    found = []
    for node in graph.node:
        if node.op != "Const" or not tf.as_dtype(node.attr["dtype"].type).is_floating:
            continue
        array = tf.make_ndarray(node.attr["value"].tensor)
        if np.isinf(array).any():
            found.append(_Held(f"{node.name}:0", array))
            node.op = "Placeholder"
            del node.attr["value"]
            node.attr["shape"].shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    return found


def _captured(function: Any, own: int) -> Iterator[_Held]:
    """The constants outside that a function uses; small ones TensorFlow has put into the graph itself."""
    for inner, outer in zip(function.inputs[own:], function.captured_inputs, strict=True):
        if inner.op.type == "Placeholder":
            yield _Held(inner.name, outer.numpy())


def _known(held: _Held) -> WeightSource:
    return lambda: held.array


def _lowered(graph: Any, inputs: Sequence[Any], outputs: Sequence[Any], scopes: Mapping[str, str]) -> bytes:
    """The graph as a file with built-in operators only.

    This is what `tf.lite.TFLiteConverter.from_concrete_functions` comes down to, without its passes over the graph and the
    file in Python, which take six times as long as the conversion, and without its stack traces in place of node names.
    """
    from tensorflow.lite.python import convert

    try:
        return bytes(
            convert.convert_graphdef(
                graph,
                inputs,
                outputs,
                target_ops=[tf.lite.OpsSet.TFLITE_BUILTINS],
                allow_custom_ops=False,
                enable_tflite_resource_variables=False,
            )
        )
    except convert.ConverterError as error:
        raise _lowering_error(str(error), scopes) from error
    except ValueError as error:  # a dtype that no input can have
        raise LoweringError((), " ".join(str(error).split())[:300]) from error


# What MLIR prints: `error: loc("place/of/node/AddV2@…"): 'tf.AddV2' op is neither a custom op nor a flex op`.
_REFUSED = re.compile(r"error: (?:loc\((?P<location>.*?)\): )?(?P<what>'(?P<operator>\w+\.\w+)' op .*)$", re.MULTILINE)


def _lowering_error(text: str, scopes: Mapping[str, str]) -> LoweringError:
    places: dict[tuple[str, str], None] = {}
    reasons: dict[str, None] = {}
    for found in _REFUSED.finditer(text):
        names = re.findall(r'"([^"@]+)(?:@[^"]*)?"', found["location"] or "")
        operator = found["operator"].partition(".")[2]
        places[next(filter(None, (_place(name, scopes) for name in names)), ""), operator] = None
        told = found["what"] if "neither a custom op" not in found["what"] else f"LiteRT has no {operator} for these types"
        reasons[told] = None
    if not places:
        first = next((line.strip() for line in text.splitlines() if "error:" in line), " ".join(text.split()))
        return LoweringError((), first[:300])
    return LoweringError(tuple(places), "; ".join(list(reasons)[:3])[:400])


def _place(name: str, scopes: Mapping[str, str]) -> str:
    """The place in the ONNX model that a TensorFlow node's name begins with."""
    while name:
        if name in scopes:
            return scopes[name]
        name = name.rpartition("/")[0]
    return ""
