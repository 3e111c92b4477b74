"""LiteRT: runs `.tflite` files with the interpreter of ai-edge-litert."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import Host, Runtime, Variation
from convkit.errors import ConversionError, InputSpecError
from convkit.formats import Variant
from convkit.signature import Signature, TensorSpec, dynamic_dim

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RUNTIME", "LiteRTSession", "load"]

RUNTIME = Runtime(
    name="LiteRT",
    variants=(Variant.TFLITE,),
    host=Host(group="litert", preload=("numpy", "ai_edge_litert.interpreter"), packages=("ai-edge-litert",)),
    variations=(Variation.THREADS,),
)

# Resource variables, and operators whose states are tensors of the file that outlive a run.
_STATEFUL = frozenset(
    {
        "ASSIGN_VARIABLE", "BIDIRECTIONAL_SEQUENCE_LSTM", "BIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN", "SVDF",
        "UNIDIRECTIONAL_SEQUENCE_GRU", "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN",
    }
)  # fmt: skip


@dataclass(frozen=True)
class LiteRTSession:
    """A loaded model (`components.Session`); quantized inputs and outputs are raw integers."""

    signature: Signature
    invoke: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]
    keeps_state: bool = False

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs once, at the shapes of the arrays given.

        Raises:
            InputSpecError: when an array's dtype or a static dimension is not the signature's: the interpreter itself
                would resize the input and fail, or abort, somewhere inside.
            ConversionError: when the interpreter fails.
        """
        for spec in self.signature.inputs:
            _check(spec, feeds)
        try:
            results = self.invoke({name: feeds[name] for name in self.signature.input_names})
        except Exception as error:
            shapes = ", ".join(f"{name}{list(feeds[name].shape)}" for name in self.signature.input_names)
            raise _failure(f"LiteRT failed to run the model on {shapes}: {_summary(error)}") from error
        return {name: results[name] for name in self.signature.output_names}


def _check(spec: TensorSpec, feeds: Mapping[str, np.ndarray]) -> None:
    if spec.name not in feeds:
        raise InputSpecError(f"no array for the input {spec}", hint="give one array per input, by name")
    array = feeds[spec.name]
    fits = spec.shape is None or (
        len(spec.shape) == array.ndim
        and all(isinstance(want, str) or want == size for want, size in zip(spec.shape, array.shape, strict=True))
    )
    if not fits or str(array.dtype) != spec.dtype:
        raise InputSpecError(
            f"the array for {spec} is {array.dtype}{list(array.shape)}", hint="give an array of that dtype and shape"
        )


def _failure(message: str, hint: str = "") -> ConversionError:
    return ConversionError(message, stage="validate", component=RUNTIME.name, hint=hint)


def _summary(error: Exception) -> str:
    return " ".join(str(error).split())[:500] or type(error).__name__


def load(artifact: Artifact, variation: str | None = None) -> LiteRTSession:
    """Loads a file and picks the SignatureDef that `artifact.signature` names, by default the first.

    A file without SignatureDef is run through the tensors of its first subgraph.

    Args:
        artifact: The file.
        variation: A `Variation` of the descriptor's.

    Raises:
        ConversionError: when the interpreter rejects the file, or the file lacks what `artifact.signature` names.
    """
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(artifact.path), num_threads=2 if variation == Variation.THREADS else None)
        definitions = interpreter.get_signature_list()
        if not definitions:
            interpreter.allocate_tensors()
    except Exception as error:
        text = _summary(error)
        hint = "LiteRT's Python packages hold no Flex delegate; the operator has to be rewritten" if "Flex" in text else ""
        raise _failure(f"LiteRT cannot load {artifact.path}: {text}", hint) from error
    session = _from_definition(interpreter, artifact, definitions) if definitions else _from_tensors(interpreter, artifact)
    stateful = not _STATEFUL.isdisjoint(readers.inspect(artifact.path).operators)
    return replace(session, keeps_state=stateful)


def _from_definition(interpreter: Any, artifact: Artifact, definitions: Mapping[str, Any]) -> LiteRTSession:
    wanted = artifact.signature
    key = wanted.name if wanted is not None and wanted.name in definitions else next(iter(definitions))
    runner = interpreter.get_signature_runner(key)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
    input_names = _ordered("input", list(inputs), wanted.input_names if wanted else None, artifact)
    output_names = _ordered("output", list(outputs), wanted.output_names if wanted else None, artifact)
    signature = Signature(
        tuple(_spec(name, inputs[name]) for name in input_names),
        tuple(_spec(name, outputs[name]) for name in output_names),
        key,
    )
    return LiteRTSession(signature, lambda feeds: dict(runner(**feeds)))


def _ordered(role: str, names: list[str], wanted: tuple[str, ...] | None, artifact: Artifact) -> tuple[str, ...]:
    """The interpreter lists a SignatureDef's names sorted; the order is the artifact's."""
    if wanted is None:
        return tuple(names)
    if sorted(names) != sorted(wanted):
        raise _failure(
            f"{artifact.path} has the {role}s {', '.join(names)}, not {', '.join(wanted)}",
            "run `convkit inspect` on the file for the names that it has",
        )
    return wanted


def _from_tensors(interpreter: Any, artifact: Artifact) -> LiteRTSession:
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    wanted = artifact.signature
    # Positions count here: a file without SignatureDef has nothing but the order and the tensors' own names.
    input_names = [d["name"] for d in inputs] if wanted is None else list(wanted.input_names)
    output_names = [d["name"] for d in outputs] if wanted is None else list(wanted.output_names)
    if len(input_names) != len(inputs) or len(output_names) != len(outputs):
        raise _failure(
            f"{artifact.path} has {len(inputs)} inputs and {len(outputs)} outputs, not {wanted}",
            "run `convkit inspect` on the file",
        )
    by_name = _matched(input_names, inputs), _matched(output_names, outputs)

    def invoke(feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        for name, detail in by_name[0].items():
            interpreter.resize_tensor_input(detail["index"], feeds[name].shape)
        interpreter.allocate_tensors()
        for name, detail in by_name[0].items():
            interpreter.set_tensor(detail["index"], feeds[name])
        interpreter.invoke()
        return {name: interpreter.get_tensor(detail["index"]) for name, detail in by_name[1].items()}

    signature = Signature(
        tuple(_spec(name, detail) for name, detail in by_name[0].items()),
        tuple(_spec(name, detail) for name, detail in by_name[1].items()),
        "serving_default" if wanted is None else wanted.name,
    )
    return LiteRTSession(signature, invoke)


def _matched(names: list[str], details: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    by_tensor = {d["name"]: d for d in details}
    if set(names) == set(by_tensor) and len(by_tensor) == len(details):
        return {name: by_tensor[name] for name in names}
    return dict(zip(names, details, strict=True))


def _spec(name: str, detail: Mapping[str, Any]) -> TensorSpec:
    import numpy as np

    # The signature of a file that states no dynamic dimensions is empty.
    sizes = detail["shape_signature"] if len(detail["shape_signature"]) else detail["shape"]
    shape = tuple(dynamic_dim(name, axis) if size < 0 else int(size) for axis, size in enumerate(sizes))
    return TensorSpec(name, np.dtype(detail["dtype"]).name, shape)
