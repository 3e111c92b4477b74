"""Traces a model inside a worker."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convkit.arrays import load_arrays
from convkit.artifact import Artifact
from convkit.traces import Recorder

__all__ = ["trace"]


def trace(
    module: str, artifact: Mapping[str, Any], inputs: str, directory: str, settings: Mapping[str, Any] | None = None
) -> None:
    """Runs a model once and records what every operator computes.

    Args:
        module: Of the tracer.
        artifact: The model with its signature, as JSON.
        inputs: An `.npz` with one array per input.
        directory: An existing directory for the trace.
        settings: Of the tracer.
    """
    recorder = Recorder(Path(directory))
    importlib.import_module(module).trace(Artifact.from_json(artifact), load_arrays(Path(inputs)), recorder, **(settings or {}))
    recorder.close()
