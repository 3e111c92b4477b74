"""What the nodes of an ONNX model compute, in ONNX Runtime.

Every value of the main graph becomes an output, and they are fetched a few at a time: ONNX Runtime frees what is not asked
for. What runs inside a loop or a branch is one operator here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.components import Host, Tracer
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.traces import Recorder, TracedOperator, fetched

if TYPE_CHECKING:
    import numpy as np
    import onnx

__all__ = ["TRACER", "trace"]

TRACER = Tracer(
    name="ONNX Runtime",
    variants=(Variant.ONNX,),
    host=Host(group="onnxruntime", preload=("numpy", "onnxruntime", "onnx"), packages=("onnxruntime", "onnx")),
)


def trace(artifact: Artifact, feeds: Mapping[str, np.ndarray], record: Recorder) -> None:
    """Records every node and every tensor of the main graph.

    Raises:
        ConversionError: ONNX Runtime cannot load or run the model with its values as outputs.
    """
    import onnx

    model = onnx.load(artifact.path, load_external_data=False)
    graph = model.graph
    record.edges({n: n for n in feeds}, _outputs(artifact, graph))
    initializers = {t.name: t for t in graph.initializer}
    for node, name in zip(graph.node, _names(graph), strict=True):
        record.operator(_operator(node, name))
    base = str(artifact.path.parent)
    for name, proto in initializers.items():
        record.tensor(name, onnx.numpy_helper.to_array(proto, base), constant=True)
    for name, array in feeds.items():
        record.tensor(name, array)
    for name, array in _values(artifact, model, feeds):
        record.tensor(name, array)


def _outputs(artifact: Artifact, graph: onnx.GraphProto) -> dict[str, str]:
    own = [o.name for o in graph.output]
    given = own if artifact.signature is None else artifact.signature.output_names
    return {n: n for n in given} if set(given) == set(own) else dict(zip(given, own, strict=True))


def _names(graph: onnx.GraphProto) -> list[str]:
    """The nodes' own names; that of its first output where a node has none, or shares it."""
    seen: set[str] = set()
    found = []
    for node in graph.node:
        name = node.name if node.name and node.name not in seen else next((o for o in node.output if o), node.op_type)
        seen.add(name)
        found.append(name)
    return found


def _operator(node: onnx.NodeProto, name: str) -> TracedOperator:
    kind = f"{node.domain}::{node.op_type}" if node.domain not in {"", "ai.onnx"} else node.op_type
    inputs = [*node.input, *sorted(_captured(node))]
    return TracedOperator(name, kind, tuple(inputs), tuple(node.output), _attributes(node))


def _captured(node: onnx.NodeProto) -> set[str]:
    """Names of the outer graph that a node's branches or loop body read."""
    found: set[str] = set()
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            inner = {i.name for i in graph.input} | {t.name for t in graph.initializer}
            for child in graph.node:
                found |= {n for n in (*child.input, *_captured(child)) if n and n not in inner}
                inner |= set(child.output)
    return found - set(node.input)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    kept = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode(errors="replace")
        if isinstance(value, int | float | str) or (
            isinstance(value, list) and len(value) <= 64 and all(isinstance(v, int | float) for v in value)
        ):
            kept[attribute.name] = value
    return kept


def _values(artifact: Artifact, model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The values of the graph, in its order, a few per run."""
    import numpy as np

    own = {o.name for o in model.graph.output}
    wanted = list(dict.fromkeys(o for node in model.graph.node for o in node.output if o))
    for name in wanted:
        if name not in own:
            model.graph.output.add(name=name)
    session = _session(artifact, model)
    taken = {i.name for i in session.get_inputs()}
    given = {name: array for name, array in feeds.items() if name in taken}

    def fetch(names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
        try:
            results = session.run(list(names), given)
        except Exception as error:  # its exceptions have no common base
            raise _failure(f"ONNX Runtime failed to run {artifact.path.name} with all its values as outputs: {error}") from error
        return [(n, a) for n, a in zip(names, results, strict=True) if isinstance(a, np.ndarray)]

    return fetched(wanted, fetch)


def _session(artifact: Artifact, model: onnx.ModelProto) -> Any:
    import onnxruntime

    from convkit.runtimes.onnx import session_options

    options = session_options()
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(artifact.path.parent))
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _failure(f"ONNX Runtime cannot load {artifact.path.name} with all its values as outputs: {error}") from error


def _failure(message: str) -> ConversionError:
    return ConversionError(" ".join(message.split())[:500], stage="trace", component=TRACER.name)
