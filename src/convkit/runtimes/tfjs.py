"""TF.js: runs graph models and layers models in Node, on the cpu backend (or wasm).

One Node process serves all models of a worker. The cpu backend computes in JavaScript, in the order that the source of
TF.js says, and is what results are compared with; `CONVKIT_TFJS_BACKEND=wasm` chooses the other.
"""

from __future__ import annotations

import itertools
import os
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from convkit.artifact import Artifact
from convkit.components import Host, Runtime
from convkit.errors import ConversionError, InputSpecError, UsageError
from convkit.formats import Variant
from convkit.signature import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np

    from convkit.javascript.node import NodeProcess

__all__ = ["BACKENDS", "RUNTIME", "Process", "TfjsSession", "load", "narrowed", "session", "widened"]

RUNTIME = Runtime(
    name="TF.js",
    variants=(Variant.TFJS_GRAPH, Variant.TFJS_LAYERS),
    host=Host(group="tfjs", preload=("numpy", "convkit.javascript.node"), tools=("tfjs",)),
)

BACKENDS = ("cpu", "wasm")
_PATIENCE = 1800.0
"""Seconds that a single run may take: the cpu backend needs minutes for what others do in seconds."""

# What TF.js computes in, by the dtype that a signature says; TF.js has four of its own.
_COMPUTED = {
    **dict.fromkeys(("float16", "bfloat16", "float32", "float64"), "float32"),
    **dict.fromkeys(("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"), "int32"),
    **dict.fromkeys(("complex64", "complex128"), "complex64"),
    "bool": "bool",
    "string": "string",
}
_numbers = itertools.count()
_released: dict[int, list[int]] = {}
"""The numbers of models that nobody holds any more, by process."""


class Process(Protocol):
    """What runs TF.js: Node (`javascript.node`) or a page in a browser (`browser.process`)."""

    starts: int
    """How often it was started: what an earlier process had loaded is gone."""

    @property
    def running(self) -> bool: ...

    def address(self, path: Path) -> str:
        """What the process is told to read a file by."""

    def call(
        self, operation: str, arguments: Mapping[str, Any], tensors: Mapping[str, np.ndarray] | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Runs an operation of `tfjs_operations.mjs`."""


class _LoadedModel:
    """A model in a process; when that has died since, the next call loads it again.

       Args:
           process: Where it is.
           files: The model's JSON, and its shards per group of the manifest.
           backend: What it runs on.
    The arguments of its operation "load".

       Attributes:
           inputs: The names that TF.js knows the inputs by, in its order.
           outputs: The same of the outputs.
    """

    def __init__(self, process: Process, files: tuple[Path, list[list[Path]]], backend: str) -> None:
        self._process = process
        self._files = files
        number = next(_numbers)
        self._names = {"id": number, "backend": backend}
        self._start = -1
        header = self._loaded()
        self.inputs: list[str] = header["inputs"]
        self.outputs: list[str] = header["outputs"]
        # Objects are collected at any time, also between a call and its answer: Node forgets the model at the next call.
        weakref.finalize(self, _released.setdefault(id(process), []).append, number)

    def ask(self, operation: str, feeds: Mapping[str, np.ndarray], **arguments: Any) -> dict[str, np.ndarray]:
        """Runs an operation on the model."""
        if self._start != self._process.starts or not self._process.running:
            self._loaded()
        if released := _released.get(id(self._process)):
            self._process.call("unload", {"ids": [released.pop() for _ in range(len(released))]})
        return self._process.call(operation, {**self._names, **arguments}, feeds)[1]

    def _loaded(self) -> dict[str, Any]:
        model, shards = self._files
        call = {
            **self._names,
            "model": self._process.address(model),
            "shards": [[self._process.address(shard) for shard in group] for group in shards],
        }
        header, _ = self._process.call("load", call)
        self._start = self._process.starts
        return header


class TfjsSession:
    """A loaded model (`components.Session`).

    Args:
        model: What Node has loaded.
        signature: Names, order, dtypes and shapes as the file and the artifact have them.
        own: The same tensors under the names that TF.js knows them by.
    """

    def __init__(self, model: _LoadedModel, signature: Signature, own: Signature) -> None:
        self._model = model
        self._signature = signature
        self._own = own

    @property
    def signature(self) -> Signature:
        return self._signature

    @property
    def edges(self) -> dict[str, dict[str, str]]:
        """The names of "inputs" and "outputs" in the signature, with those that TF.js knows them by."""
        return {
            "inputs": dict(zip(self._signature.input_names, self._own.input_names, strict=True)),
            "outputs": dict(zip(self._signature.output_names, self._own.output_names, strict=True)),
        }

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs once, at the shapes of the arrays given.

        64-bit inputs are narrowed to TF.js's 32 bits, and results widened to the dtypes that the signature declares.

        Raises:
            InputSpecError: An array is missing, does not fit the signature, or has an integer beyond 32 bits.
            ConversionError: TF.js fails; the message names the operator.
        """
        results = self._model.ask("run", self._sent(feeds))
        arrays = (results[name] for name in self._own.output_names)
        return {spec.name: widened(spec, array) for spec, array in zip(self._signature.outputs, arrays, strict=True)}

    def intermediates(self, feeds: Mapping[str, np.ndarray], names: Sequence[str]) -> dict[str, np.ndarray]:
        """Tensors inside the model on the same inputs.

        Args:
            feeds: As for `run`.
            names: Of nodes (`name` or `name:1` for a second output) of a graph model, of layers of a layers model.

        Raises:
            InputSpecError: As for `run`.
            ConversionError: There is no such node outside of functions, or TF.js fails.
        """
        return self._model.ask("intermediates", self._sent(feeds), names=list(names))

    def _sent(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        if missing := [n for n in self._signature.input_names if n not in feeds]:
            raise InputSpecError(f"no array for the input {', '.join(missing)}", hint="give one array per input, by name")
        pairs = zip(self._own.input_names, self._signature.inputs, strict=True)
        return {own: narrowed(spec, feeds[spec.name]) for own, spec in pairs}


def narrowed(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    """An input as TF.js takes it: float32, int32, bool, complex64 or str.

    Raises:
        InputSpecError: The dtype or a static dimension is another than the signature's, or an integer has more than 32 bits.
    """
    import numpy as np

    fits = spec.shape is None or (
        len(spec.shape) == array.ndim
        and all(isinstance(want, str) or want == size for want, size in zip(spec.shape, array.shape, strict=True))
    )
    given = "string" if array.dtype.kind in "USO" else array.dtype.name
    wanted = _COMPUTED.get(spec.dtype)
    if not fits or wanted is None or _COMPUTED.get(given) != wanted:
        raise InputSpecError(
            f"the array for {spec} is {array.dtype}{list(array.shape)}", hint="give an array of that dtype and shape"
        )
    if wanted == "string":
        return array.astype(np.str_)
    if wanted == "int32" and array.size and (array.max() > np.iinfo(np.int32).max or array.min() < np.iinfo(np.int32).min):
        raise InputSpecError(f"the array for {spec} has integers beyond 32 bits", hint="TF.js has no wider ones")
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def widened(spec: TensorSpec, array: np.ndarray) -> np.ndarray:
    """A result in the dtype that the signature declares, where that holds all values of the computed one."""
    import numpy as np

    if spec.dtype in {"int64", "float64", "complex128"} and np.can_cast(array.dtype, spec.dtype):
        return array.astype(spec.dtype)
    return array


@cache
def _process() -> NodeProcess:
    """The worker's Node."""
    from convkit.javascript.node import NodeProcess
    from convkit.workers import toolchains

    return NodeProcess(toolchains.node_toolchain("tfjs"), RUNTIME.name, _PATIENCE)


def _chosen_backend() -> str:
    backend = os.environ.get("CONVKIT_TFJS_BACKEND", BACKENDS[0])
    if backend not in BACKENDS:
        raise UsageError(f"CONVKIT_TFJS_BACKEND is {backend!r}", hint=f"the backends are {', '.join(BACKENDS)}")
    return backend


def load(artifact: Artifact, backend: str | None = None) -> TfjsSession:
    """Loads a model into the worker's Node.

    Args:
        artifact: A `model.json` or its directory.
        backend: One of `BACKENDS`, by default the one that the environment says.

    Raises:
        ToolchainError: The toolchain "tfjs" is not installed.
        UsageError: There is no such backend.
        UnreadableModelError, ConversionError: As for `session`.
    """
    return session(_process(), artifact, backend or _chosen_backend())


def session(process: Process, artifact: Artifact, backend: str) -> TfjsSession:
    """Loads a model into a process; its files are read and checked first.

    Raises:
        UnreadableModelError: The file or its shards are damaged, or lie outside of its directory.
        ConversionError: TF.js rejects the model, or it lacks what `artifact.signature` names.
    """
    from convkit import readers
    from convkit.readers.tfjs import load_model
    from convkit.readers.tfjs_weights import weight_groups

    found = readers.inspect(artifact.path).signature
    file, model = load_model(artifact.path)
    shards = [[shard.resolve() for shard in group.shards] for group in weight_groups(file, model)]
    loaded = _LoadedModel(process, (file.resolve(), shards), backend)
    own = _as_loaded(artifact, found, loaded)
    signature = own if artifact.signature is None else _declared(artifact, own, artifact.signature)
    return TfjsSession(loaded, signature, _in_order(own, signature))


def _as_loaded(artifact: Artifact, found: Signature | None, model: _LoadedModel) -> Signature:
    """What the file says of the tensors that TF.js has found in it, under the names that TF.js knows them by."""
    counts = len(model.inputs), len(model.outputs)
    if found is None or counts != (len(found.inputs), len(found.outputs)):
        raise _mismatch(artifact, f"{counts[0]} inputs and {counts[1]} outputs", str(found))
    return found.renamed(_paired(found.input_names, model.inputs), _paired(found.output_names, model.outputs))


def _paired(names: Sequence[str], own: Sequence[str]) -> Sequence[str]:
    """TF.js's names in the order of the file's: by name where they are the same, else by position."""
    return names if set(names) == set(own) else own


def _declared(artifact: Artifact, own: Signature, wanted: Signature) -> Signature:
    """What TF.js says of the tensors, in the order and under the names of the artifact's signature."""
    if (len(own.inputs), len(own.outputs)) != (len(wanted.inputs), len(wanted.outputs)):
        raise _mismatch(artifact, str(own), str(wanted))
    return replace(wanted, inputs=_specs(own.inputs, wanted.inputs), outputs=_specs(own.outputs, wanted.outputs))


def _specs(own: Sequence[TensorSpec], wanted: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    by_name = {spec.name: spec for spec in own}
    if set(by_name) == {spec.name for spec in wanted}:
        return tuple(by_name[spec.name] for spec in wanted)
    return tuple(replace(mine, name=spec.name) for mine, spec in zip(own, wanted, strict=True))


def _in_order(own: Signature, signature: Signature) -> Signature:
    """TF.js's names in the order of the session's signature."""

    def ordered(mine: tuple[TensorSpec, ...], names: tuple[str, ...]) -> tuple[TensorSpec, ...]:
        by_name = {spec.name: spec for spec in mine}
        return tuple(by_name[name] for name in names) if set(by_name) == set(names) else mine

    return replace(own, inputs=ordered(own.inputs, signature.input_names), outputs=ordered(own.outputs, signature.output_names))


def _mismatch(artifact: Artifact, has: str, wanted: str) -> ConversionError:
    return ConversionError(
        f"{artifact.path} has {has}, not {wanted}",
        stage="validate",
        component=RUNTIME.name,
        hint="run `convkit inspect` on the file for the names that it has",
    )
