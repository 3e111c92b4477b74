"""What the operators of a SavedModel's function compute, in TensorFlow.

The function's calls are inlined, so that its graph is flat; then tensors are fetched a few at a time. What runs inside a loop or
a branch is one operator here. Weights become constants of that graph, unless they are large: TensorFlow holds them some ten times
on the way there, and so they stay variables, whose memory is the loaded model's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import Host, Tracer
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.traces import Recorder, TracedOperator, fetched

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TRACER", "trace"]

TRACER = Tracer(
    name="TensorFlow",
    variants=(Variant.SAVEDMODEL,),
    host=Host(group="tensorflow", preload=("tensorflow",), packages=("tensorflow",)),
)

_LARGEST = 384 << 20
"""Bytes of weights that TensorFlow is given as constants of a graph."""
_SILENT = {"NoOp", "Placeholder", "Assert"}
_WEIGHTS = {"Const", "ReadVariableOp"}


@dataclass(frozen=True)
class _Flat:
    """A function whose graph is flat.

    Attributes:
        function: Its first inputs are the signature's; then come its variables, if it has any.
        variables: Their handles.
    """

    function: Any
    variables: Sequence[Any] = ()


def trace(artifact: Artifact, feeds: Mapping[str, np.ndarray], record: Recorder) -> None:
    """Records every operator and every tensor of the inlined graph.

    Raises:
        UnreadableModelError: The SavedModel cannot be loaded.
        ConversionError: It cannot be frozen, is too large to be, or fails.
    """
    import tensorflow as tf

    from convkit.loading import tensorflow as loading

    assert artifact.signature is not None
    names = artifact.signature.input_names
    try:
        flat = _flattened(artifact)
        inputs = flat.function.inputs[: len(names)]
        operators = [o for o in flat.function.graph.get_operations() if o.type not in _SILENT]
        for operator in operators:
            if operator.type not in _WEIGHTS:
                record.operator(_operator(operator))
        for name, tensor in zip(names, inputs, strict=True):
            record.tensor(tensor.name, feeds[name])
        constant = {t.name for o in operators if o.type in _WEIGHTS for t in o.outputs}
        for name, array in _values(flat, [t for o in operators for t in o.outputs], [feeds[n] for n in names]):
            record.tensor(name, array, constant=name in constant)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise ConversionError(
            f"TensorFlow cannot tell what is inside {artifact.path.name}: {loading.first_line(error)}",
            stage="trace",
            component=TRACER.name,
        ) from error
    record.edges(
        dict(zip(names, (t.name for t in inputs), strict=True)),
        dict(zip(artifact.signature.output_names, (t.name for t in flat.function.outputs), strict=True)),
    )


def _flattened(artifact: Artifact) -> _Flat:
    """The function of the artifact's signature without calls of others.

    Raises:
        ConversionError: Its weights are large, and either constants already, or changed when it runs.
    """
    from tensorflow.python.framework import convert_to_constants as constants

    from convkit.loading import tensorflow as loading

    assert artifact.signature is not None
    function = loading.edge_function(artifact.path, artifact.signature)
    if readers.inspect(artifact.path).size <= _LARGEST:
        return _Flat(constants.convert_variables_to_constants_v2(function, lower_control_flow=False))
    if loading.assignments(function) or (artifact.path / "saved_model.pb").stat().st_size > _LARGEST:
        raise ConversionError(
            f"what is inside a SavedModel of more than {_LARGEST >> 20} MB is told where its weights are variables that no run"
            f" changes; those of {artifact.path.name} are not",
            stage="trace",
            component=TRACER.name,
            hint="convert it to LiteRT or ONNX, and compare with that",
        )
    # What makes constants of variables, without that step (`convert_to_constants.py`): there is no public way to inline.
    graph = constants._run_inline_graph_optimization(function, lower_control_flow=False, aggressive_inlining=False)
    return _Flat(constants._construct_concrete_function(function, graph, set()), function.captured_inputs)


def _operator(operator: Any) -> TracedOperator:
    inputs, outputs = (tuple(t.name for t in side) for side in (operator.inputs, operator.outputs))
    return TracedOperator(operator.name, operator.type, inputs, outputs, _attributes(operator))


def _attributes(operator: Any) -> dict[str, Any]:
    kept = {}
    for name, value in operator.node_def.attr.items():
        kind = value.WhichOneof("value")
        if name.startswith("_") or kind not in {"i", "f", "b", "s", "list"}:
            continue
        found = getattr(value, kind)
        if kind == "s":
            found = found.decode(errors="replace")
        elif kind == "list":
            found = [*found.i, *found.f]
        kept[name] = found
    return kept


def _values(flat: _Flat, tensors: list[Any], given: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The graph's tensors in its order, a few per run; resources and variants have no values."""
    wanted = [t.name for t in tensors if t.dtype.name not in {"resource", "variant", "string"}]
    return _pruned(flat, wanted, given) if flat.variables else _in_a_session(flat, wanted, given)


def _in_a_session(flat: _Flat, wanted: list[str], given: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """Functions that are pruned to some tensors would each keep a copy of the constants."""
    import tensorflow as tf

    feeds = dict(zip((t.name for t in flat.function.inputs), given, strict=True))
    with tf.compat.v1.Session(graph=flat.function.graph) as session:

        def fetch(names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
            return list(zip(names, session.run(list(names), feeds), strict=True))

        yield from fetched(wanted, fetch)


def _pruned(flat: _Flat, wanted: list[str], given: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """A session would need variables of its own."""
    import tensorflow as tf

    def fetch(names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
        function = flat.function.prune(flat.function.inputs, list(names))
        return [(n, t.numpy()) for n, t in zip(names, function(*map(tf.constant, given), *flat.variables), strict=True)]

    yield from fetched(wanted, fetch)
