"""Runs a model on input sets inside a worker; what the pipeline calls for both sides of a validation."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.arrays import load_arrays, save_arrays
from convkit.artifact import Artifact
from convkit.components import ConversionRequest, EmissionRequest, Session

if TYPE_CHECKING:
    import numpy as np

    from convkit.signature import Signature

__all__ = ["check", "convert", "emit", "run", "survey", "timed"]

_sessions: dict[tuple[Any, ...], Session] = {}


def _session(module: str, artifact: Artifact, settings: Mapping[str, Any]) -> Session:
    """The loaded model; kept, so that a second validation of the same file does not load it again."""
    stamp = artifact.path.stat()
    file = (str(artifact.path), stamp.st_mtime_ns, stamp.st_size)
    key = (module, tuple(settings.items()), *file, artifact.signature, artifact.pytorch)
    if key not in _sessions or _keeps_state(_sessions[key]):
        # One model at a time, and one variation of it: memory is bounded by the largest.
        kept = {k: s for k, s in _sessions.items() if "variation" in settings and "variation" not in dict(k[1])}
        _sessions.clear()
        _sessions.update(kept)
        _sessions[key] = importlib.import_module(module).load(artifact, **settings)
    return _sessions[key]


def _keeps_state(session: Session) -> bool:
    """Whether a run depends on those before it; of a session that does not say so it does not."""
    return bool(getattr(session, "keeps_state", False))


def run(
    module: str,
    artifact: Mapping[str, Any],
    inputs: Sequence[str],
    outputs: Sequence[str],
    settings: Mapping[str, Any] | None = None,
    restarts: Sequence[int] = (),
    wanted: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """Runs a model once per input set.

    Args:
        module: Of the runtime.
        artifact: The model, as JSON.
        inputs: One `.npz` per set.
        outputs: Where to write each set's outputs.
        settings: Of the runtime.
        restarts: The numbers of the sets before which a model that keeps state starts anew.
        wanted: The numbers of the sets to run, by default all; a model that keeps state runs on all in any case.

    Returns:
        Per set `seconds`, and `error` where that set failed (other sets go on).
    """
    model = Artifact.from_json(artifact)
    session = _session(module, model, settings or {})
    results: list[dict[str, Any]] = []
    for number, (source, target) in enumerate(zip(inputs, outputs, strict=True)):
        if number in restarts and _keeps_state(session):
            session = _session(module, model, settings or {})
        if wanted is not None and number not in wanted and not _keeps_state(session):
            results.append({"seconds": 0.0, "error": "not wanted"})
            continue
        feeds = load_arrays(Path(source))
        start = time.perf_counter()
        try:
            arrays = session.run(feeds)
        except Exception as error:
            results.append({"seconds": 0.0, "error": f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"})
            continue
        results.append({"seconds": time.perf_counter() - start, "error": None})
        save_arrays(Path(target), _named(arrays, model.signature))
    return results


def timed(
    module: str, artifact: Mapping[str, Any], inputs: str, settings: Mapping[str, Any], runs: int, budget: float
) -> list[float]:
    """Runs a model again and again on the same inputs.

    Args:
        module, artifact, settings: As for `run`.
        inputs: An `.npz`.
        runs: At most so many count.
        budget: Seconds after which no further run starts.

    Returns:
        Seconds of each run. The first is not among them: it may plan memory for these shapes. Where it has used up the
        budget, it stands alone.
    """
    session = _session(module, Artifact.from_json(artifact), settings)
    feeds = load_arrays(Path(inputs))
    times: list[float] = []
    start = time.perf_counter()
    while len(times) <= runs and (not times or time.perf_counter() - start < budget):
        begun = time.perf_counter()
        session.run(feeds)
        times.append(time.perf_counter() - begun)
    return times[1:] or times


def _named(arrays: Mapping[str, np.ndarray], signature: Signature | None) -> Mapping[str, np.ndarray]:
    """The outputs under the names that the user gave them (`--output-names`): by position, where the runtime knows others."""
    if signature is None or set(arrays) == set(signature.output_names) or len(arrays) != len(signature.outputs):
        return arrays
    return dict(zip(signature.output_names, arrays.values(), strict=True))


def convert(module: str, request: Mapping[str, Any]) -> dict[str, Any]:
    """Calls a converter's `convert`."""
    outcome = importlib.import_module(module).convert(ConversionRequest.from_json(request))
    return dict(outcome.to_json())


def emit(module: str, request: Mapping[str, Any]) -> list[str]:
    """Calls an emitter's `emit`; its notes."""
    return list(importlib.import_module(module).emit(EmissionRequest.from_json(request)).notes)


def check(module: str, request: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Calls a converter's `check`, if it has one; None where it has not."""
    checker = getattr(importlib.import_module(module), "check", None)
    if checker is None:
        return None
    return [finding.to_json() for finding in checker(ConversionRequest.from_json(request))]


def survey(module: str, request: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Calls a converter's `survey`, which tells what it can without its framework."""
    found = importlib.import_module(module).survey(ConversionRequest.from_json(request))
    return [finding.to_json() for finding in found]
