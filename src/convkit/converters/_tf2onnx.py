"""What the two converters built on tf2onnx share: the handlers that it lacks, its errors, and the edge of its result.

tf2onnx logs what it cannot convert and writes the TensorFlow operator into the ONNX file all the same; the file is then
rejected by every runtime. `to_onnx` finds such operators in the result and says all of them at once.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from convkit.components import Option
from convkit.converters._checked import RefusedError
from convkit.errors import ConversionError
from convkit.legalization.onnx.probabilities import keep_small_probabilities
from convkit.legalization.target import Finding, Verdict
from convkit.signature import Signature, TensorSpec

__all__ = ["ADDED_LITERT_OPERATORS", "ADDED_OPERATORS", "OPSET", "external_storage", "opset_of", "to_onnx", "write"]

OPSET = Option("opset", "ONNX operator set version of the output (13 to 18)", 18)
# Operators that tf2onnx lacks and that the handlers here add.
ADDED_OPERATORS = frozenset({"Erfc"})
ADDED_LITERT_OPERATORS = frozenset({"EMBEDDING_LOOKUP", "GELU"})

_FAILED = re.compile(r"Failed to convert node '([^']*)'.*?OP=(\w+)", re.DOTALL)
_KNOWN_DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft"})


def opset_of(options: Mapping[str, Any]) -> int:
    """The `opset` option as a number.

    Raises:
        ConversionError: when tf2onnx cannot write it.
    """
    from tf2onnx import constants

    opset = int(options.get("opset") or OPSET.default)
    if opset not in constants.OPSET_TO_IR_VERSION:
        newest = max(constants.OPSET_TO_IR_VERSION)
        raise ConversionError(
            f"tf2onnx cannot write ONNX operator set {opset}",
            component="tf2onnx",
            hint=f"choose --option opset=N with N up to {newest}",
        )
    return opset


def external_storage(large: bool) -> Any:
    """Where tf2onnx collects weights for external data; None for a model that one protobuf message holds."""
    from tf2onnx.graph import ExternalTensorStorage

    return ExternalTensorStorage() if large else None


def to_onnx(process: Mapping[str, Any], component: str, graph_def: Any | None = None, storage: Any = None) -> Any:
    """Runs tf2onnx and returns the ModelProto, under tf2onnx's own names.

    Args:
        process: Arguments of `tf2onnx.tfonnx.process_tf_graph`.
        component: The converter, for errors.
        graph_def: The frozen TensorFlow graph, None when `process` names a LiteRT file.
        storage: See `external_storage`.

    Raises:
        ConversionError: listing the operators that were not converted.
    """
    import tensorflow as tf
    from tf2onnx import optimizer
    from tf2onnx.tf_utils import compress_graph_def
    from tf2onnx.tfonnx import process_tf_graph

    _mend_fully_connected()
    weights = None if storage is None or graph_def is None else compress_graph_def(graph_def)
    with _errors_logged() as logged, _numpy_1_names(), tf.device("/cpu:0"), tf.Graph().as_default() as graph:
        try:
            if graph_def is not None:
                tf.import_graph_def(graph_def, name="")
            converted = process_tf_graph(
                graph if graph_def is not None else None,
                continue_on_error=True,
                const_node_values=weights,
                custom_op_handlers={
                    "Erfc": (_erfc, []),
                    "FloorDiv": (_floor_div, []),
                    "FloorMod": (_floor_mod, []),
                    "TFL_EMBEDDING_LOOKUP": (_embedding_lookup, []),
                    "TFL_GELU": (_gelu, []),
                },
                **process,
            )
            converted = optimizer.optimize_graph(converted, catch_errors=storage is None)
            model = converted.make_model("", graph_name="main", external_tensor_storage=storage)
        except Exception as error:
            reason = "; ".join([*logged, f"{type(error).__name__}: {' '.join(str(error).split())}"])
            raise ConversionError(
                f"tf2onnx failed: {reason[:800]}", component=component, hint="try another route (see `convkit plan`)"
            ) from error
    if missing := _unconverted(model.graph):
        listed = ", ".join(f"{name} ({len(places)}×, first at {_short(places[0])!r})" for name, places in missing.items())
        reason = "tf2onnx has no conversion for it as it is used here"
        raise RefusedError(
            f"tf2onnx has no conversion for {listed}",
            [Finding(name, len(places), Verdict.GAP, reason, tuple(places)) for name, places in missing.items()],
            component=component,
            hint="replace these operators in the model, or try another route (see `convkit plan`)",
        )
    if failed := [line for line in logged if line.startswith("Failed to convert")]:
        raise RefusedError(
            f"tf2onnx failed on {len(failed)} node(s): {'; '.join(failed)[:800]}",
            _failures(failed),
            component=component,
            hint="try another route (see `convkit plan`)",
        )
    return model


@contextmanager
def _errors_logged() -> Iterator[list[str]]:
    """The errors that tf2onnx logs, one line each; it continues after most of them."""
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            text = " ".join(record.getMessage().split())
            cause = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
            lines.append(text[:200] + (f": {' '.join(str(cause).split())[:200]}" if cause else ""))

    handler = Collect(logging.ERROR)
    logger = logging.getLogger("tf2onnx")
    logger.addHandler(handler)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)


@contextmanager
def _numpy_1_names() -> Iterator[None]:
    """`np.product`, which numpy 2 has dropped and tf2onnx 1.17 calls for external data and some operators."""
    import numpy as np

    if hasattr(np, "product"):
        yield
        return
    np.product = np.prod  # type: ignore[attr-defined]
    try:
        yield
    finally:
        del np.product  # type: ignore[attr-defined]


class _Expression:
    """Builds the ONNX nodes that take the place of one node, in tf2onnx's graph."""

    def __init__(self, context: Any, node: Any) -> None:
        from onnx import helper

        self._context, self._node = context, node
        self._shapes, self._dtypes = node.output_shapes, node.output_dtypes
        self._type = helper.tensor_dtype_to_np_dtype(self._dtypes[0])
        self._outputs = list(node.output)
        self.input: str = node.input[0]
        context.remove_node(node.name)

    def constant(self, value: float) -> str:
        import numpy as np
        from tf2onnx import utils

        name: str = self._context.make_const(utils.make_name(self._node.name), np.array(value, self._type)).output[0]
        return name

    def apply(self, operator: str, *inputs: str | float, last: bool = False) -> str:
        names = [value if isinstance(value, str) else self.constant(value) for value in inputs]
        keywords = {"name": self._node.name, "outputs": self._outputs} if last else {}
        made = self._context.make_node(operator, names, shapes=self._shapes, dtypes=self._dtypes, **keywords)
        return str(made.output[0])


def _erfc(context: Any, node: Any, _name: str, _arguments: Any) -> None:
    """`Erfc` (exact GELU in TensorFlow): 1 − Erf, which ONNX has."""
    make = _Expression(context, node)
    make.apply("Sub", 1.0, make.apply("Erf", make.input), last=True)


def _floor_div(context: Any, node: Any, _name: str, _arguments: Any) -> None:
    """`FloorDiv`, in place of tf2onnx 1.17's, which cuts quotients of integers towards zero: -1 // 2 is -1."""
    x, y = node.input
    make = _Expression(context, node)
    if _is_floating(context, x):
        make.apply("Floor", make.apply("Div", x, y), last=True)
    else:
        make.apply("Div", make.apply("Sub", x, make.apply("Mod", x, y)), y, last=True)


def _floor_mod(context: Any, node: Any, _name: str, _arguments: Any) -> None:
    """`FloorMod`, in place of tf2onnx 1.17's, whose remainder of a negative integer has the wrong sign."""
    x, y = node.input
    make = _Expression(context, node)
    if _is_floating(context, x):
        make.apply("Sub", x, make.apply("Mul", make.apply("Floor", make.apply("Div", x, y)), y), last=True)
    else:
        make.apply("Mod", x, y, last=True)


def _is_floating(context: Any, name: str) -> bool:
    import onnx

    return context.get_dtype(name) in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)


def _gelu(context: Any, node: Any, _name: str, _arguments: Any) -> None:
    """LiteRT's `GELU`: x/2 · (1 + erf(x/√2)), or its tanh approximation (Hendrycks and Gimpel, arXiv:1606.08415)."""
    approximate = node.get_attr_value("approximate", False)
    make = _Expression(context, node)
    x = make.input
    if approximate:
        cubic = make.apply("Mul", make.apply("Mul", make.apply("Mul", x, x), x), 0.044715)
        inner = make.apply("Tanh", make.apply("Mul", make.apply("Add", x, cubic), math.sqrt(2 / math.pi)))
    else:
        inner = make.apply("Erf", make.apply("Mul", x, math.sqrt(0.5)))
    make.apply("Mul", make.apply("Mul", x, 0.5), make.apply("Add", inner, 1.0), last=True)


@cache
def _mend_fully_connected() -> None:
    """Replaces tf2onnx 1.17's handler of LiteRT's `FULLY_CONNECTED`, which loses the bias of an input of rank 3 or more.

    Without `keep_num_dims` it flattens such an input, and puts back two of the operator's three inputs
    (tflite_handlers/tfl_math.py). Here the input is flattened before, so that it has nothing to do.
    """
    import numpy as np
    from tf2onnx import utils
    from tf2onnx.handler import tfl_op
    from tf2onnx.tflite_handlers.tfl_math import TflFullyConnectedOp

    @tfl_op(["TFL_FULLY_CONNECTED"])
    class FullyConnected:
        @classmethod
        def to_tf(cls, ctx: Any, node: Any, **keywords: Any) -> None:
            if node.attr["keep_num_dims"].i == 0 and ctx.get_rank(node.input[0]) != 2:
                width = ctx.get_shape(node.input[1])[1]
                shape = ctx.make_const(utils.make_name("flat"), np.array([-1, width], np.int64))
                dtype = ctx.get_dtype(node.input[0])
                flat = ctx.make_node("Reshape", [node.input[0], shape.output[0]], shapes=[[-1, width]], dtypes=[dtype])
                flat.skip_conversion = True
                ctx.replace_input(node, node.input[0], flat.output[0], 0)
            TflFullyConnectedOp.to_tf(ctx, node, **keywords)


def _embedding_lookup(context: Any, node: Any, _name: str, _arguments: Any) -> None:
    """LiteRT's `EMBEDDING_LOOKUP(ids, table)`: rows of the table, which is a Gather over its first axis."""
    ids, table = node.input
    shapes, dtypes = node.output_shapes, node.output_dtypes
    context.remove_node(node.name)
    context.make_node("Gather", [table, ids], attr={"axis": 0}, name=node.name, outputs=node.output, shapes=shapes, dtypes=dtypes)


def _failures(lines: Sequence[str]) -> list[Finding]:
    """The gaps that tf2onnx's log tells: "Failed to convert node 'name' (fct=…)", and what the node is."""
    found = []
    for line in lines:
        match = _FAILED.search(line)
        name, operator = match.groups() if match else ("", "the graph")
        found.append(Finding(operator, 1, Verdict.GAP, f"tf2onnx failed on it: {line[:300]}", (name,) if name else ()))
    return found


def _short(place: str) -> str:
    """One of the names that LiteRT joins when it fuses operators, at a length that can be read."""
    name = place.split(";")[0]
    return name if len(name) <= 80 else f"…{name[-79:]}"


def _unconverted(graph: Any) -> dict[str, list[str]]:
    """Operators without an ONNX schema, with the names of their nodes; subgraphs included."""
    from onnx import defs

    found: dict[str, list[str]] = {}
    for node in _nodes(graph):
        if node.domain not in _KNOWN_DOMAINS or (not defs.has(node.op_type, node.domain) and node.domain in ("", "ai.onnx")):
            found.setdefault(node.op_type, []).append(node.name)
    return found


def _graphs(graph: Any) -> Iterator[Any]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
            for inner in attribute.graphs:
                yield from _graphs(inner)


def _nodes(graph: Any) -> Iterator[Any]:
    for each in _graphs(graph):
        yield from each.node


def write(
    model: Any,
    output: Path,
    signature: Signature,
    *,
    inputs: Sequence[str],
    outputs: Sequence[str],
    storage: Any = None,
) -> None:
    """Gives the model the edge that `signature` describes and writes it.

    Args:
        model: The ModelProto that `to_onnx` returned; changed in place.
        output: The file to write. Weights of a model with a storage go to a file beside it, `<name>.data`.
        signature: Names, order and dimensions of the edge.
        inputs: For each input of the signature, its present name.
        outputs: For each output of the signature, its present name.
        storage: See `external_storage`.

    Raises:
        ConversionError: when an input or output is missing or has another dtype.
    """
    graph = model.graph
    if lost := [name for name in outputs if name not in {value.name for value in graph.output}]:
        raise ConversionError(f"tf2onnx dropped the output {', '.join(lost)}", component="tf2onnx")
    outputs = _separate(graph, inputs, outputs)
    keep_small_probabilities(graph)
    renames = dict(zip(inputs, signature.input_names, strict=True)) | dict(zip(outputs, signature.output_names, strict=True))
    _rename(graph, renames)
    _order(graph.input, signature.inputs, "input")
    _order(graph.output, signature.outputs, "output")
    if storage is None:
        output.write_bytes(model.SerializeToString())
        return
    _place_external(model, storage, output.with_name(output.name + ".data"))
    output.write_bytes(model.SerializeToString())


def _separate(graph: Any, inputs: Sequence[str], outputs: Sequence[str]) -> list[str]:
    """Gives an output that is also an input, a weight or another output a node of its own; returns the outputs' names."""
    from onnx import helper

    taken = set(inputs) | {tensor.name for tensor in graph.initializer}
    values = {value.name: value for value in graph.output}
    separate, infos = [], []
    for position, name in enumerate(outputs):
        own = name
        if name in taken:
            own = f"{name}__output{position}"
            graph.node.append(helper.make_node("Identity", [name], [own], name=own))
        taken.add(own)
        info = type(values[name]).FromString(values[name].SerializeToString())
        info.name = own
        infos.append(info)
        separate.append(own)
    del graph.output[:]
    graph.output.extend(infos)
    return separate


def _rename(graph: Any, renames: Mapping[str, str]) -> None:
    """Renames values everywhere, subgraphs included; inner values that have a wanted name already make way."""
    mapping = {old: new for old, new in renames.items() if old != new}
    wanted = set(mapping.values())
    for each in _graphs(graph):
        defined = [o for node in each.node for o in node.output]
        defined += [t.name for t in each.initializer] + [v.name for v in each.input]
        for name in defined:
            if name in wanted and name not in mapping:
                mapping[name] = f"{name}__inner"
    if not mapping:
        return
    for each in _graphs(graph):
        for node in each.node:
            node.input[:] = [mapping.get(name, name) for name in node.input]
            node.output[:] = [mapping.get(name, name) for name in node.output]
        for value in (*each.input, *each.output, *each.value_info, *each.initializer):
            value.name = mapping.get(value.name, value.name)


def _order(values: Any, specs: Sequence[TensorSpec], role: str) -> None:
    """Puts the edge into order and states its dimensions; symbols keep their names."""
    from onnx import helper

    by_name = {value.name: value for value in values}
    if set(by_name) != {spec.name for spec in specs}:
        raise ConversionError(
            f"tf2onnx wrote the {role}s {', '.join(by_name)}, not {', '.join(s.name for s in specs)}",
            component="tf2onnx",
            hint=f"an {role} that nothing uses is the usual cause",
        )
    ordered = []
    for spec in specs:
        code = by_name[spec.name].type.tensor_type.elem_type
        ordered.append(helper.make_tensor_value_info(spec.name, code, spec.shape))
    del values[:]
    values.extend(ordered)


def _place_external(model: Any, storage: Any, path: Path) -> None:
    """Moves the weights that tf2onnx collected into one file, and points the tensors at their place in it."""
    with path.open("wb") as stream:
        places: dict[str, tuple[int, int]] = {}
        for name, data in storage.name_to_tensor_data.items():
            # ONNX asks for offsets that are multiples of a page, for mapping.
            stream.write(bytes(-stream.tell() % 4096))
            places[name] = stream.tell(), len(data)
            stream.write(data)
    tensors = [t for graph in _graphs(model.graph) for t in graph.initializer]
    tensors += [a.t for node in _nodes(model.graph) for a in node.attribute if a.HasField("t")]
    for tensor in tensors:
        entries = {entry.key: entry.value for entry in tensor.external_data}
        if entries.get("location") not in places:
            continue
        offset, length = places[entries["location"]]
        del tensor.external_data[:]
        for key, value in (("location", path.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
