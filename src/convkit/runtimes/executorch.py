"""ExecuTorch: runs `.pte` files with its portable runtime.

The public module `executorch.runtime` imports half of the compiler (several seconds); the binding below it needs torch only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.components import Host, Runtime
from convkit.errors import ConversionError, InputSpecError
from convkit.formats import Variant
from convkit.signature import Signature

if TYPE_CHECKING:
    import numpy as np

__all__ = ["RUNTIME", "ExecuTorchSession", "load"]

RUNTIME = Runtime(
    name="ExecuTorch",
    variants=(Variant.PTE,),
    host=Host(
        group="executorch",
        preload=("torch", "executorch.extension.pybindings._portable_lib"),
        packages=("executorch", "torch"),
    ),
)

# runtime/core/error.h
_ERRORS = {
    "0x10": "an input has another shape than the program allows, or is larger than its upper bound",
    "0x12": "an input, or a tensor inside, has another dtype or dimension order than the program expects",
    "0x14": "the program uses an operator that the runtime has no kernel for",
    "0x20": "the program uses a delegate that the runtime does not have",
    "0x21": "it needs more memory than was planned",
    "0x23": "the file is corrupt, or of another version",
}


class ExecuTorchSession:
    """A loaded method (`components.Session`); inputs and outputs go by position."""

    keeps_state = True
    """It may, which the runtime does not tell; to load a file again is cheap."""

    def __init__(self, artifact: Artifact) -> None:
        import torch  # noqa: F401 - loads the libraries that the binding is linked against
        from executorch.extension.pybindings import _portable_lib

        if artifact.signature is None:
            raise _failure(f"the inputs of {artifact.path} are not known")
        self._signature = artifact.signature
        try:
            # The method lives in the program's memory.
            self._program = _portable_lib._load_program(str(artifact.path))
            names = [self._program.get_method_name(i) for i in range(self._program.num_methods())]
            wanted = artifact.signature.name
            name = wanted if wanted in names else "forward" if "forward" in names else names[0]
            self._method = self._program.load_method(name)
        except Exception as error:
            raise _failure(f"ExecuTorch cannot load {artifact.path}: {_explained(error)}") from error
        counts = self._method.method_meta().num_inputs(), self._method.method_meta().num_outputs()
        if counts != (len(self._signature.inputs), len(self._signature.outputs)):
            raise _failure(
                f"{artifact.path} has {counts[0]} inputs and {counts[1]} outputs, not {self._signature}",
                "run `convkit inspect` on the file",
            )

    @property
    def signature(self) -> Signature:
        return self._signature

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs once, at the shapes of the arrays given.

        Raises:
            InputSpecError: when an array is missing.
            ConversionError: when the runtime refuses an input, or fails.
        """
        from convkit.loading import pytorch as loading

        missing = [t.name for t in self._signature.inputs if t.name not in feeds]
        if missing:
            raise InputSpecError(f"no array for {', '.join(missing)}", hint="give one array per input, by name")
        inputs = [loading.to_torch(feeds[t.name], t.dtype) for t in self._signature.inputs]
        try:
            results = self._method(inputs)
        except Exception as error:
            shapes = ", ".join(f"{t.name}{list(feeds[t.name].shape)}" for t in self._signature.inputs)
            raise _failure(f"ExecuTorch failed to run the model on {shapes}: {_explained(error)}") from error
        # The results are windows on memory that the next run overwrites.
        return {spec.name: _array(result) for spec, result in zip(self._signature.outputs, results, strict=True)}


def _array(result: Any) -> np.ndarray:
    import torch

    from convkit.loading import pytorch as loading

    tensor = result if isinstance(result, torch.Tensor) else torch.as_tensor(result)
    return loading.to_numpy(tensor.clone(memory_format=torch.contiguous_format))


def _failure(message: str, hint: str = "") -> ConversionError:
    return ConversionError(message, stage="validate", component=RUNTIME.name, hint=hint)


def _explained(error: Exception) -> str:
    text = " ".join(str(error).split())[:400]
    meaning = next((m for code, m in _ERRORS.items() if text.lower().endswith(code)), "")
    return f"{text} ({meaning})" if meaning else text


def load(artifact: Artifact) -> ExecuTorchSession:
    """Loads the method that the signature is named after, `forward` by default.

    Raises:
        ConversionError: when the runtime rejects the file, or its inputs and outputs are not the signature's.
    """
    return ExecuTorchSession(artifact)
