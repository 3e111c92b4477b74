"""Runs a new LiteRT file once, in another process: the interpreter aborts on some files that converters write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact
from convkit.errors import ConversionError, WorkerCrashError, WorkerTimeoutError
from convkit.formats import Variant
from convkit.runtimes.litert import RUNTIME
from convkit.signature import Signature

__all__ = ["trouble"]

_SECONDS = 300.0


def trouble(path: Path, signature: Signature, examples: Path | None) -> str:
    """Why LiteRT cannot run a file; empty where it can.

    Args:
        path: The file.
        signature: Its signature.
        examples: An `.npz` with one array per input; zeros where there is none.
    """
    from convkit.workers.pool import default_pool

    feeds = {} if examples is None else load_arrays(examples)
    suitable = set(feeds) >= set(signature.input_names)
    inputs, outputs = path.with_name(f"{path.name}.in.npz"), path.with_name(f"{path.name}.out.npz")
    save_arrays(inputs, {n: feeds[n] for n in signature.input_names} if suitable else _zeros(signature))
    try:
        answer = (
            default_pool()
            .worker(RUNTIME.host)
            .call(
                "convkit.workers.running:run",
                {
                    "module": RUNTIME.module or "convkit.runtimes.litert",
                    "artifact": Artifact(Variant.TFLITE, path, signature).to_json(),
                    "inputs": [str(inputs)],
                    "outputs": [str(outputs)],
                },
                stage="convert",
                component=RUNTIME.name,
                timeout=_SECONDS,
            )
        )
    except WorkerCrashError as error:
        return f"LiteRT ends its process on the file: {error.message}"
    except WorkerTimeoutError:
        return f"LiteRT does not finish within {_SECONDS:.0f} seconds"
    except ConversionError as error:
        return error.message
    finally:
        for array in (inputs, outputs):
            array.unlink(missing_ok=True)
    # Zeros at arbitrary sizes may be no inputs of this model.
    said = answer.result[0]["error"] if suitable or not signature.dynamic_dims else ""
    return str(said or "")


def _zeros(signature: Signature) -> Mapping[str, np.ndarray]:
    return {spec.name: np.zeros(spec.concrete({}), spec.dtype) for spec in signature.inputs}
