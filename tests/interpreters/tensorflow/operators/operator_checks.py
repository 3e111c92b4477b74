"""What the tests of the operator families share: the comparison with ONNX Runtime, with and without known sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import litert_nodes
import numpy as np
import onnx
import onnx_ir as ir
import onnx_nodes as nodes

from convkit.interpreters.tensorflow.table import operators
from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.rewriting import legalize
from convkit.legalization.target import Verdict

Feeds = Mapping[str, np.ndarray]


def agrees(
    operator: str,
    feeds: Feeds,
    constants: Feeds | None = None,
    *,
    tolerance: float = 1e-5,
    dynamic: Mapping[str, Mapping[int, str]] | None = None,
    wanted: list[np.ndarray] | None = None,
    **options: Any,
) -> None:
    """The importer computes what ONNX Runtime does (or what is wanted), traced at the sizes given and at dynamic ones.

    Args:
        dynamic: Input name → axis → symbol; every axis by default.
        options: See `onnx_nodes.node_model`.
    """
    symbols = dynamic or {name: {axis: f"{name}{axis}" for axis in range(array.ndim)} for name, array in feeds.items()}
    for sizes in (None, symbols):
        model = nodes.node_model(operator, feeds, constants, dynamic=sizes, **options)
        nodes.assert_agree(nodes.tensorflow(model, feeds), wanted or nodes.onnx_runtime(model, feeds), tolerance)


def agrees_in_litert(
    operator: str, feeds: Feeds, constants: Feeds | None = None, *, tolerance: float = 1e-5, **options: Any
) -> set[str]:
    """LiteRT's builtin operators compute it too. Returns which."""
    model = nodes.node_model(operator, feeds, constants, **options)
    got, used = litert_nodes.litert(model, feeds)
    nodes.assert_agree(got, nodes.onnx_runtime(model, feeds), tolerance)
    return used


def refusal(model: onnx.ModelProto) -> str:
    """Why the one operator of a model is refused before anything is computed."""
    imported = preparation.prepared(ir.from_proto(model))
    [gap] = [finding for finding in legalize(imported, operators()) if finding.verdict is Verdict.GAP]
    return gap.reason
