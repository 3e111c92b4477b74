"""What the operators of a SavedModel's function compute, in TensorFlow.

The function is frozen and its calls inlined, so that its graph is flat; then tensors are fetched a few at a time. What runs
inside a loop or a branch is one operator here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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
"""Bytes of a SavedModel up to which it is frozen: TensorFlow holds its weights some ten times on the way there."""
_SILENT = {"NoOp", "Placeholder", "Assert"}


def trace(artifact: Artifact, feeds: Mapping[str, np.ndarray], record: Recorder) -> None:
    """Records every operator and every tensor of the inlined graph.

    Raises:
        UnreadableModelError: The SavedModel cannot be loaded.
        ConversionError: It cannot be frozen, is too large to be, or fails.
    """
    if (size := readers.inspect(artifact.path).size) > _LARGEST:
        raise ConversionError(
            f"{artifact.path.name} has {size >> 20} MB, and what is inside a SavedModel is told up to {_LARGEST >> 20} MB, since"
            " TensorFlow holds its weights some ten times for that",
            stage="trace",
            component=TRACER.name,
            hint="convert it to LiteRT or ONNX, and compare with that",
        )
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from convkit.loading import tensorflow as loading

    assert artifact.signature is not None
    function = loading.edge_function(artifact.path, artifact.signature)
    try:
        frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
        operators = [o for o in frozen.graph.get_operations() if o.type not in _SILENT]
        for operator in operators:
            if operator.type != "Const":
                record.operator(_operator(operator))
        given = [feeds[n] for n in artifact.signature.input_names]
        for name, tensor in zip(artifact.signature.input_names, frozen.inputs, strict=True):
            record.tensor(tensor.name, feeds[name])
        constant = {t.name for o in operators if o.type == "Const" for t in o.outputs}
        for name, array in _values(frozen, [t for o in operators for t in o.outputs], given):
            record.tensor(name, array, constant=name in constant)
    except (tf.errors.OpError, ValueError, TypeError) as error:
        raise ConversionError(
            f"TensorFlow cannot tell what is inside {artifact.path.name}: {loading.first_line(error)}",
            stage="trace",
            component=TRACER.name,
        ) from error
    record.edges(
        dict(zip(artifact.signature.input_names, (t.name for t in frozen.inputs), strict=True)),
        dict(zip(artifact.signature.output_names, (t.name for t in frozen.outputs), strict=True)),
    )


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


def _values(frozen: Any, tensors: list[Any], given: list[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """The graph's tensors in its order, a few per run; resources and variants have no values.

    In a session: functions that are pruned to some tensors would each keep a copy of the weights.
    """
    import tensorflow as tf

    wanted = [t.name for t in tensors if t.dtype.name not in {"resource", "variant", "string"}]
    feeds = dict(zip((t.name for t in frozen.inputs), given, strict=True))
    with tf.compat.v1.Session(graph=frozen.graph) as session:

        def fetch(names: Sequence[str]) -> list[tuple[str, np.ndarray]]:
            return list(zip(names, session.run(list(names), feeds), strict=True))

        yield from fetched(wanted, fetch)
