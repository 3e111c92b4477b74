"""ONNX's own backend node tests as files: one model of one operator, its inputs, and what the standard says comes out.

They ship inside the `onnx` package. As published, a test feeds everything at run time, the weights of a Conv and the axes of
an Unsqueeze included; real models hold those as initializers, and no runtime of mobile devices takes them otherwise. So what
is a parameter is baked in here (`is_parameter`), and every shape is the fed arrays' own.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from convkit.arrays import load_arrays, save_arrays

__all__ = ["CORPUS", "Case", "differs", "is_parameter", "load", "make"]

CORPUS = Path(__file__).resolve().parent.parent / "build" / "onnx-node-suite" / "corpus"
_RULES = 1
"""Changes when the rules below do, so that an old corpus is made anew."""

_LOOSEST = 1e-3, 1e-4
"""Relative and absolute tolerance where the test itself asks for less."""

# Everything but the first input of these is what training or quantisation has left in the file.
_WEIGHTED = """
    BatchNormalization Clip Conv ConvInteger ConvTranspose DeformConv DequantizeLinear Dropout GRU Gemm GroupNormalization
    InstanceNormalization LSTM LayerNormalization MelWeightMatrix PRelu Pad QLinearConv QLinearMatMul QuantizeLinear
    RMSNormalization RNN Resize TfIdfVectorizer
"""
# int64 inputs are shapes, axes and repeats, except where they are data or computed indices.
_INTEGERS_ARE_DATA = """
    Equal Gather GatherElements GatherND Greater If Less Loop Mod Scan Scatter ScatterElements ScatterND Where
"""
_DOMAINS = {"", "ai.onnx", "ai.onnx.ml"}
# No runtime takes these from numpy; bfloat16 and the 8-bit floats are tested by what casts to them inside a model.
_FOREIGN = ("bfloat16", "float8_e4m3fn")


class UnsuitableError(Exception):
    """A test that is no conversion case, and why."""


@dataclass(frozen=True)
class Case:
    """One test on disk.

    Attributes:
        name: onnx's own, for example "test_conv_with_strides_padding".
        operators: What the model has, subgraphs excluded.
        rtol, atol: The test's own tolerances, at least 1e-3 and 1e-4.
    """

    name: str
    operators: tuple[str, ...]
    rtol: float
    atol: float

    @property
    def directory(self) -> Path:
        return CORPUS / self.name

    @property
    def model(self) -> Path:
        return self.directory / "model.onnx"

    def inputs(self) -> dict[str, np.ndarray]:
        return load_arrays(self.directory / "inputs.npz")

    def expected(self) -> dict[str, np.ndarray]:
        return load_arrays(self.directory / "expected.npz")


def is_parameter(operator: str, position: int, array: np.ndarray) -> bool:
    """Whether a real model would hold this input of a one-operator model itself."""
    if position == 0:
        return False
    return operator in _WEIGHTED.split() or (array.dtype == np.int64 and operator not in _INTEGERS_ARE_DATA.split())


def load() -> list[Case]:
    """The cases, made first where they are not there (half a minute)."""
    index = CORPUS / "index.json"
    state = {"onnx": onnx.__version__, "rules": _RULES}
    if index.exists():
        found = json.loads(index.read_text())
        if found["made_with"] == state:
            return [Case(**{**c, "operators": tuple(c["operators"])}) for c in found["cases"]]
    shutil.rmtree(CORPUS, ignore_errors=True)
    cases, skipped = make(CORPUS)
    index.write_text(json.dumps({"made_with": state, "skipped": skipped, "cases": [asdict(c) for c in cases]}, indent=1) + "\n")
    return cases


def make(directory: Path) -> tuple[list[Case], dict[str, int]]:
    """Writes every suitable test below a directory; returns them, and why others were left out."""
    import onnx.backend.test.case.node as node_tests

    cases, skipped = [], Counter[str]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for test in node_tests.collect_testcases(None):
            try:
                cases.append(_write(test, directory / test.name))
            except UnsuitableError as reason:
                skipped[str(reason)] += 1
    return cases, dict(skipped)


def _write(test: Any, directory: Path) -> Case:
    if any(imported.domain not in _DOMAINS for imported in test.model.opset_import):
        raise UnsuitableError("a training or custom domain")
    if not test.data_sets:
        raise UnsuitableError("no data")
    inputs, outputs = ([_array(value) for value in values] for values in test.data_sets[0])
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    inputs = _baked(model, inputs)
    if not inputs:
        raise UnsuitableError("nothing is fed at run time")
    for declared, array in zip(model.graph.input, inputs, strict=True):
        shape = declared.type.tensor_type.shape
        del shape.dim[:]
        for size in array.shape:
            shape.dim.add().dim_value = size
    directory.mkdir(parents=True)
    onnx.save(model, directory / "model.onnx")
    save_arrays(directory / "inputs.npz", {v.name: a for v, a in zip(model.graph.input, inputs, strict=True)})
    save_arrays(directory / "expected.npz", {v.name: a for v, a in zip(model.graph.output, outputs, strict=True)})
    operators = tuple(sorted({node.op_type for node in model.graph.node}))
    return Case(directory.name, operators, max(test.rtol, _LOOSEST[0]), max(test.atol, _LOOSEST[1]))


def _array(value: Any) -> np.ndarray:
    if value is None or isinstance(value, list | dict | onnx.SequenceProto | onnx.OptionalProto | onnx.TensorProto):
        raise UnsuitableError("a sequence, an optional or a map at the edge")
    array = np.asarray(value)
    if array.dtype.kind not in "fiubc" or str(array.dtype) in _FOREIGN:
        raise UnsuitableError("a dtype that numpy has not")
    return array


def _baked(model: onnx.ModelProto, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Makes the parameters of a one-operator model initializers; returns what is still fed."""
    graph = model.graph
    if len(graph.node) != 1:
        return list(arrays)
    declared = list(graph.input)
    parameter = [is_parameter(graph.node[0].op_type, position, array) for position, array in enumerate(arrays)]
    for value, array, held in zip(declared, arrays, parameter, strict=True):
        if held:
            graph.initializer.append(numpy_helper.from_array(array, value.name))
    del graph.input[:]
    graph.input.extend(value for value, held in zip(declared, parameter, strict=True) if not held)
    return [array for array, held in zip(arrays, parameter, strict=True) if not held]


def differs(case: Case, expected: Sequence[np.ndarray], got: Sequence[np.ndarray]) -> str | None:
    """How outputs depart from the standard's, None where they agree. A dtype may be narrower: LiteRT has no float64."""
    if len(expected) != len(got):
        return f"{len(got)} outputs in place of {len(expected)}"
    for position, (wanted, mine) in enumerate(zip(expected, got, strict=True)):
        wanted, mine = np.asarray(wanted), np.asarray(mine)
        if wanted.shape != mine.shape:
            return f"output {position} has shape {list(mine.shape)} in place of {list(wanted.shape)}"
        if wanted.dtype.kind == "b" or mine.dtype.kind == "b":
            if (wanted.astype(bool) != mine.astype(bool)).any():
                return f"output {position} has other truth values"
            continue
        wide = np.complex128 if "c" in wanted.dtype.kind + mine.dtype.kind else np.float64
        wanted, mine = wanted.astype(wide), mine.astype(wide)
        if not np.allclose(mine, wanted, rtol=case.rtol, atol=case.atol, equal_nan=True):
            with np.errstate(all="ignore"):
                worst = np.abs(np.nan_to_num(mine) - np.nan_to_num(wanted)).max(initial=0)
            return f"output {position} differs by {worst:.3g}"
    return None
