"""What the operators of a LiteRT model compute, in its interpreter with built-in kernels.

The interpreter is told to keep all tensors and to use no delegate: what XNNPACK computes inside is not to be had. Quantized
tensors are recorded as the real numbers that they stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.components import Host, Tracer
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.traces import Recorder, TracedOperator

if TYPE_CHECKING:
    import numpy as np

__all__ = ["TRACER", "trace"]

TRACER = Tracer(
    name="LiteRT",
    variants=(Variant.TFLITE,),
    host=Host(group="litert", preload=("numpy", "ai_edge_litert.interpreter"), packages=("ai-edge-litert",)),
)


def trace(artifact: Artifact, feeds: Mapping[str, np.ndarray], record: Recorder) -> None:
    """Records every operator of the main subgraph; those of branches and loop bodies are inside their operator.

    Raises:
        ConversionError: The interpreter fails, or the signature belongs to another subgraph than the first.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    try:
        interpreter = Interpreter(
            model_path=str(artifact.path),
            experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            experimental_preserve_all_tensors=True,
        )
        inputs, outputs = _edges(interpreter, artifact)
        for name, index in inputs.items():
            interpreter.resize_tensor_input(index, feeds[name].shape)
        interpreter.allocate_tensors()
        for name, index in inputs.items():
            interpreter.set_tensor(index, feeds[name])
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())[:400]
        raise ConversionError(
            f"LiteRT cannot run {artifact.path.name} without a delegate: {text}", stage="trace", component=TRACER.name
        ) from error
    details = {d["index"]: d for d in interpreter.get_tensor_details()}
    names = _distinct(details)
    operators = interpreter._get_ops_details()
    for operator in operators:
        record.operator(_operator(operator, names))
    made = {int(i) for o in operators for i in o["outputs"]} | set(inputs.values())
    for index in _in_order(operators, list(inputs.values())):
        if index in details:
            array = _array(interpreter, details[index])
            if array is not None:
                record.tensor(names[index], array, constant=index not in made)
    record.edges({n: names[i] for n, i in inputs.items()}, {n: names[i] for n, i in outputs.items()})


def _edges(interpreter: Any, artifact: Artifact) -> tuple[dict[str, int], dict[str, int]]:
    """The indices of the tensors of the signature."""
    wanted = artifact.signature
    assert wanted is not None
    definitions = interpreter.get_signature_list()
    if not definitions:
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        return (
            dict(zip(wanted.input_names, (d["index"] for d in inputs), strict=True)),
            dict(zip(wanted.output_names, (d["index"] for d in outputs), strict=True)),
        )
    key = wanted.name if wanted.name in definitions else next(iter(definitions))
    runner = interpreter.get_signature_runner(key)
    if runner._subgraph_index:
        raise ConversionError(
            f"the signature {key!r} of {artifact.path.name} runs another subgraph than the first, whose tensors LiteRT hides",
            stage="trace",
            component=TRACER.name,
        )
    given, made = runner.get_input_details(), runner.get_output_details()
    return {n: given[n]["index"] for n in wanted.input_names}, {n: made[n]["index"] for n in wanted.output_names}


def _distinct(details: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
    """A name for every tensor: its own, with its index where others share it."""
    seen: set[str] = set()
    found = {}
    for index, detail in details.items():
        name = detail["name"] or f"tensor {index}"
        found[index] = f"{name} ({index})" if name in seen else name
        seen.add(name)
    return found


def _operator(operator: Mapping[str, Any], names: Mapping[int, str]) -> TracedOperator:
    inputs = tuple(names.get(int(i), "") for i in operator["inputs"])
    outputs = tuple(names.get(int(i), "") for i in operator["outputs"])
    return TracedOperator(outputs[0] if outputs else str(operator["index"]), operator["op_name"], inputs, outputs)


def _in_order(operators: list[dict[str, Any]], inputs: list[int]) -> list[int]:
    """Tensors in the order of their use."""
    ordered = [*inputs, *(int(i) for o in operators for i in (*o["inputs"], *o["outputs"]))]
    return list(dict.fromkeys(ordered))


def _array(interpreter: Any, detail: Mapping[str, Any]) -> np.ndarray | None:
    import numpy as np

    try:
        array: np.ndarray = interpreter.get_tensor(detail["index"])
    except ValueError:  # never computed: it belongs to a branch that was not taken, or has no data
        return None
    quantization = detail["quantization_parameters"]
    scales = quantization["scales"]
    if not len(scales) or array.dtype.kind not in "iu":
        return array
    zeros = np.asarray(quantization["zero_points"], np.float64)
    if len(scales) > 1:
        along = [1] * array.ndim
        along[quantization["quantized_dimension"]] = -1
        scales, zeros = scales.reshape(along), zeros.reshape(along)
    return np.asarray((array.astype(np.float64) - zeros) * scales, np.float32)
