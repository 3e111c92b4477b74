"""What the tests of the operator families share: data, and the comparison with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import onnx_ir as ir
import onnx_nodes as nodes

from convkit.interpreters.pytorch.table import operators
from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.rewriting import legalize
from convkit.legalization.target import Verdict


def floats(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed).normal(size=shape)).astype(dtype)


def ints(*values: int, dtype: Any = np.int64) -> np.ndarray:
    return np.array(values, dtype)


def agrees(
    operator: str,
    feeds: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    tolerance: float = 1e-5,
    **options: Any,
) -> None:
    """The importer computes, through torch.export, what ONNX Runtime computes; with other sizes of dynamic dimensions too.

    See `onnx_nodes.node_model` for the options.
    """
    model = nodes.node_model(operator, feeds, constants, dynamic=dynamic, **options)
    run = nodes.pytorch_function(model, feeds)
    nodes.assert_agree(run(feeds), nodes.onnx_runtime(model, feeds), tolerance)
    if dynamic:
        larger = {name: _larger(array, dynamic.get(name, {})) for name, array in feeds.items()}
        nodes.assert_agree(run(larger), nodes.onnx_runtime(model, larger), tolerance)


def _larger(array: np.ndarray, axes: Iterable[int]) -> np.ndarray:
    """Twice as large along the axes; the elements are repeated."""
    for axis in axes:
        array = np.concatenate([array, array], axis)
    return array


def refusal(operator: str, feeds: Mapping[str, np.ndarray], constants: Any = None, **options: Any) -> str:
    """Why an operator is refused before anything is computed."""
    model = preparation.prepared(ir.from_proto(nodes.node_model(operator, feeds, constants, **options)))
    [gap] = [finding for finding in legalize(model, operators()) if finding.verdict is Verdict.GAP]
    return gap.reason
