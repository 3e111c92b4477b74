"""PyTorch itself, eager: exported programs, TorchScript, pickled modules, and modules that a factory builds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from convkit.artifact import Artifact
from convkit.components import Host, Runtime, Variation
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.loading import pytorch as loading
from convkit.signature import Signature

RUNTIME = Runtime(
    name="PyTorch",
    variants=(Variant.EXPORTED_PROGRAM, Variant.TORCHSCRIPT, Variant.PICKLED_MODULE, Variant.MODULE_FACTORY),
    host=Host(group="torch", preload=("torch",), packages=("torch",)),
    variations=(Variation.WEIGHTS, Variation.THREADS, Variation.FLOAT64),
)


class PyTorchSession:
    """Runs a module on the CPU without gradients."""

    def __init__(self, artifact: Artifact) -> None:
        if artifact.signature is None:
            raise ConversionError(f"the inputs of {artifact.path} are not known", stage="validate")
        self._artifact = artifact
        self._signature = artifact.signature
        self._stateful = loading.stateful_module(artifact)
        if self._stateful is None:
            loading.model(artifact)
        self._structure = input_structure(artifact)

    @property
    def signature(self) -> Signature:
        return self._signature

    @property
    def keeps_state(self) -> bool:
        return self._stateful is not None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        import torch

        flat = [loading.to_torch(feeds[spec.name], spec.dtype) for spec in self._signature.inputs]
        # Not kept, unless it keeps state: its weights or its code may have changed since.
        model = self._stateful or loading.model(self._artifact)
        with torch.inference_mode():
            result = self._compute(model, flat)
        return {name: loading.to_numpy(tensor) for name, tensor in loading.named_tensors(result, self._signature.output_names)}

    def _compute(self, model: Any, flat: Sequence[Any]) -> Any:
        if self._structure is None:
            return loading.call(model, self._signature.input_names, flat)
        args, kwargs = self._structure.fill(list(flat))
        return model(*args, **kwargs)


class InputStructure:
    """How an exported program wants its flat inputs nested, with the constants that it was exported with."""

    def __init__(self, in_spec: Any, constants: Mapping[int, Any]) -> None:
        self._in_spec = in_spec
        self._constants = constants

    def fill(self, flat: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        """Positional and keyword arguments, from one tensor per input."""
        import torch.utils._pytree as pytree

        tensors = iter(flat)
        leaves = [self._constants[i] if i in self._constants else next(tensors) for i in range(self._in_spec.num_leaves)]
        args, kwargs = pytree.tree_unflatten(leaves, self._in_spec)
        return list(args), kwargs


def input_structure(artifact: Artifact) -> InputStructure | None:
    """How an exported program wants its inputs; None for a module, which is called with them as they are."""
    if artifact.variant is not Variant.EXPORTED_PROGRAM:
        return None
    from torch.export.graph_signature import ConstantArgument, InputKind

    program = loading.exported_program(artifact)
    user = [s.arg for s in program.graph_signature.input_specs if s.kind is InputKind.USER_INPUT]
    constants = {i: a.value for i, a in enumerate(user) if isinstance(a, ConstantArgument)}
    return InputStructure(program.call_spec.in_spec, constants)


class VariedSession(PyTorchSession):
    """Runs a module with other roundings.

    Raises:
        ConversionError: It is TorchScript, which holds dtypes in its code, or keeps state, which would be changed.
    """

    def __init__(self, artifact: Artifact, variation: Variation) -> None:
        super().__init__(artifact)
        self._variation = variation
        self._moved: tuple[Any, dict[str, Any]] | None = None
        if variation is not Variation.THREADS and (self.keeps_state or artifact.variant is Variant.TORCHSCRIPT):
            raise ConversionError(f"{artifact.path} cannot be run in another precision", stage="validate", component=RUNTIME.name)

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with _threads(1 if self._variation is Variation.THREADS else None):
            return super().run(feeds)

    def _compute(self, model: Any, flat: Sequence[Any]) -> Any:
        from convkit.loading import variations

        if self._variation is Variation.FLOAT64:
            return variations.in_float64(model, super()._compute, flat)
        if self._variation is Variation.WEIGHTS:
            if self._moved is None or self._moved[0] is not model:  # its code may have changed since
                self._moved = model, variations.moved_weights(model)
            return variations.with_state(model, self._moved[1], super()._compute, flat)
        return super()._compute(model, flat)


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Has torch use that many threads while the block lasts; as many as ever for None."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def load(artifact: Artifact, variation: str | None = None) -> PyTorchSession:
    """Loads a model.

    Args:
        artifact: The model.
        variation: A `Variation` of the descriptor's.

    Raises:
        UnreadableModelError: It does not load.
        ConversionError: It cannot be varied like that.
    """
    return PyTorchSession(artifact) if variation is None else VariedSession(artifact, Variation(variation))
