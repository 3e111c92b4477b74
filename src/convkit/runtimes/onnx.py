"""ONNX Runtime: runs ONNX models on its CPU provider.

The outputs that every conversion from ONNX is compared with come from here, so right comes before fast:

* `Pad_Fusion` is off. ONNX Runtime 1.31.1 merges a zero `Pad` into the `MaxPool` behind it, whose own padding is minus
  infinity: on negative inputs the maximum is then wrong (measured: off by 2.6 on a 6 × 6 input, and exact without
  it). It runs from the level "basic" on, so only "disabled" is free of it by itself.
* The level is "basic": eliminations and foldings that keep the mathematics. `CONVKIT_ORT_OPTIMIZATION` can be set to
  "disabled", "basic", "extended" or "all".
* The number of threads does not depend on the machine, and deterministic kernels are asked for.
"""

from __future__ import annotations

import ctypes
import math
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.components import Host, Runtime, Variation
from convkit.errors import ConversionError, InputSpecError, UsageError
from convkit.formats import Variant
from convkit.signature import Dim, Signature, TensorSpec, dynamic_dim

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RUNTIME", "OnnxSession", "load", "session_options"]

RUNTIME = Runtime(
    name="ONNX Runtime",
    variants=(Variant.ONNX,),
    host=Host(group="onnxruntime", preload=("numpy", "onnxruntime"), packages=("onnxruntime",)),
    variations=(Variation.WEIGHTS, Variation.THREADS),
)

_LEVELS = {
    "disabled": "ORT_DISABLE_ALL",
    "basic": "ORT_ENABLE_BASIC",
    "extended": "ORT_ENABLE_EXTENDED",
    "all": "ORT_ENABLE_ALL",
}
_WRONG_OPTIMIZERS = ["Pad_Fusion"]
_THREADS = 2
_ERRORS_ONLY = 4  # fatal; what else goes wrong is raised

# ONNX Runtime's names of element types, where they are not numpy's.
_BFLOAT16 = "bfloat16"
_DTYPES = {
    "float": "float32",
    "double": "float64",
    "float8e4m3fn": "float8_e4m3fn",
    "float8e5m2": "float8_e5m2",
}


class OnnxSession:
    """A loaded model (`components.Session`)."""

    def __init__(self, session: Any, signature: Signature) -> None:
        self._session = session
        self._signature = signature

    @property
    def signature(self) -> Signature:
        """The graph's inputs and outputs in its own order; dynamic dimensions have the graph's symbols."""
        return self._signature

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs once, at the shapes of the arrays given.

        Raises:
            InputSpecError: An input has no array.
            ConversionError: ONNX Runtime rejects the arrays, or fails.
        """
        names = self._signature.input_names
        if missing := [n for n in names if n not in feeds]:
            raise InputSpecError(f"no array for the inputs {', '.join(missing)}", hint="give one array per input, by name")
        outputs = self._signature.output_names
        try:
            if any(t.dtype == _BFLOAT16 for t in (*self._signature.inputs, *self._signature.outputs)):
                return self._run_in_halves(feeds)
            results = self._session.run(list(outputs), {n: feeds[n] for n in names})
        except Exception as error:  # its exceptions have no common base
            given = ", ".join(f"{n}: {feeds[n].dtype}{list(feeds[n].shape)}" for n in names)
            raise _failure(f"ONNX Runtime failed to run the model on {given}: {_summary(error)}") from error
        return dict(zip(outputs, results, strict=True))

    def _run_in_halves(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """As `run`, where some edge is bfloat16, which ONNX Runtime does not exchange as numpy arrays: these are float32."""
        given = {spec.name: _value(feeds[spec.name], spec.dtype) for spec in self._signature.inputs}
        results = self._session.run_with_ort_values(list(self._signature.output_names), given)
        return {spec.name: _array(value, spec.dtype) for spec, value in zip(self._signature.outputs, results, strict=True)}


def _value(array: np.ndarray, dtype: str) -> Any:
    """An `OrtValue` of an array; of float32 rounded to bfloat16 where that is the dtype."""
    import numpy as np
    import onnxruntime

    if dtype != _BFLOAT16:
        return onnxruntime.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array))
    import ml_dtypes
    import onnx

    bits = np.ascontiguousarray(array, np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    return onnxruntime.OrtValue.ortvalue_from_numpy_with_onnx_type(bits, onnx.TensorProto.BFLOAT16)


def _array(value: Any, dtype: str) -> np.ndarray:
    """The array of an `OrtValue`; float32 for bfloat16, whose bits are the upper half of a float32's."""
    import numpy as np

    if dtype != _BFLOAT16:
        return np.asarray(value.numpy())
    shape = value.shape()
    memory = (ctypes.c_uint16 * math.prod(shape)).from_address(value.data_ptr())
    return (np.frombuffer(memory, np.uint16).astype(np.uint32) << 16).view(np.float32).reshape(shape)


def load(artifact: Artifact, variation: str | None = None) -> OnnxSession:
    """Loads a file; external data is found beside it.

    Args:
        artifact: The file.
        variation: A `Variation` of the descriptor's.

    Raises:
        ConversionError: ONNX Runtime rejects the file: it is invalid, an operator is not implemented, its domain is a
            custom one, or an input or output is no tensor; or its weights are too large to be varied.
        UsageError: `CONVKIT_ORT_OPTIMIZATION` is no level.
    """
    import onnxruntime

    options = session_options()
    if variation == Variation.THREADS:
        options.intra_op_num_threads = 1
    try:
        model = _with_moved_weights(artifact) if variation == Variation.WEIGHTS else str(artifact.path)
        session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"], disabled_optimizers=_WRONG_OPTIMIZERS
        )
    except Exception as error:
        raise _load_failure(artifact, error) from error
    signature = Signature(
        tuple(_spec(node) for node in session.get_inputs()), tuple(_spec(node) for node in session.get_outputs())
    )
    return OnnxSession(session, signature)


def _with_moved_weights(artifact: Artifact) -> bytes:
    from convkit.loading.onnx_variations import moved_weights

    return moved_weights(artifact.path)


def session_options() -> Any:
    """How models are run here (see the module).

    Raises:
        UsageError: `CONVKIT_ORT_OPTIMIZATION` is no level.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, _level())
    options.intra_op_num_threads = _THREADS
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    # Threads that wait for work would take the time of the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _level() -> str:
    wanted = os.environ.get("CONVKIT_ORT_OPTIMIZATION", "basic")
    try:
        return _LEVELS[wanted]
    except KeyError:
        raise UsageError(f"CONVKIT_ORT_OPTIMIZATION is {wanted!r}", hint=f"the levels are {', '.join(_LEVELS)}") from None


def _load_failure(artifact: Artifact, error: Exception) -> ConversionError:
    text = _summary(error)
    if "is not a registered function/op" in text or "is not a registered operator" in text:
        hint = "the operator is of a custom domain, which needs a library of kernels; replace it in the model"
    elif "Could not find an implementation" in text or "NOT_IMPLEMENTED" in text:
        hint = "ONNX Runtime has no CPU kernel for this operator with this dtype"
    elif "opset" in text.lower() or "ir_version" in text.lower():
        hint = "the file is newer than this ONNX Runtime: update the package onnxruntime"
    else:
        hint = ""
    return _failure(f"ONNX Runtime cannot load {artifact.path}: {text}", hint)


def _spec(node: Any) -> TensorSpec:
    """From a `NodeArg`: type "tensor(float)", shape a list of int, str (a symbol) or None; no shape at all is []."""
    kind, _, element = node.type.partition("(")
    if kind != "tensor":
        raise _failure(
            f"'{node.name}' is a {node.type}, and only tensors can be compared", "remove it from the inputs or outputs"
        )
    dtype = element.removesuffix(")")
    shape: tuple[Dim, ...] = tuple(
        d if isinstance(d, int | str) and d != "" else dynamic_dim(node.name, axis) for axis, d in enumerate(node.shape)
    )
    return TensorSpec(node.name, _DTYPES.get(dtype, dtype), shape)


def _failure(message: str, hint: str = "") -> ConversionError:
    return ConversionError(message, stage="validate", component=RUNTIME.name, hint=hint)


_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : "  # a code, and the same in words
    r"|Load model from \S+ failed:\s*"
    r"|/\S+\.(?:cc|h):\d+ \S[^(]*\([^)]*\)(?: const)? "  # a file of its sources, and the function's signature
)


def _summary(error: Exception) -> str:
    """What ONNX Runtime says, without the places in its own sources."""
    return _NOISE.sub("", " ".join(str(error).split()))[:500] or type(error).__name__
