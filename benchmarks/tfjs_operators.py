"""What TF.js runs of TensorFlow's operators: read from the npm packages, and measured in Node against TensorFlow.

Usage: python -m benchmarks.tfjs_operators --node-modules DIRECTORY [OPERATOR …]

The directory is made by `npm install` of @tensorflow/tfjs, @tensorflow/tfjs-backend-wasm and @tensorflow/tfjs-backend-webgpu, all
at the version of the toolchain "tfjs".

Writes `src/convkit/legalization/tfjs/operators.json`:
  versions    of the npm packages
  operators   that the executor of @tensorflow/tfjs-converter knows, each with the kernels that it runs
  broken      operators whose executor asks for parameters that the operator list does not declare
  backends    the kernels that each backend registers
  wrong       backend → operator → dtype → rank → what goes wrong, of the forms in `tfjs_forms.py`
  empty       backend → operators whose results are wrong where they are made of no elements
With operators named, only these are measured and the rest stays.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.tfjs_forms import DTYPES, FORMS, Form

PROBE = Path(__file__).with_name("tfjs_probe.cjs")
PACKAGES = tuple(
    f"@tensorflow/tfjs-{name}" for name in ("converter", "core", "backend-cpu", "backend-wasm", "backend-webgl", "backend-webgpu")
)
MEASURED = ("cpu", "wasm")

_FAMILIES_LEFT_OUT = ("tfdf",)
"""Decision forests need a package of their own."""


_KERNELS = {
    "_FusedConv2D": ["FusedConv2D"],
    "FusedDepthwiseConv2dNative": ["FusedDepthwiseConv2D"],
    "ImageProjectiveTransformV3": ["Transform"],
    "NonMaxSuppressionV2": ["NonMaxSuppressionV3"],
    "UniqueV2": ["Unique"],
    "UpperBound": ["SearchSorted"],
}
"""Of operators without forms whose kernel has another name."""


class Node:
    """A process that answers requests; see `tfjs_probe.cjs`."""

    def __init__(self, node_modules: Path) -> None:
        self._environment = {**os.environ, "NODE_PATH": str(node_modules)}
        self._start()

    def _start(self) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(["node", str(PROBE)], stdin=pipe, stdout=pipe, text=True, env=self._environment)

    def ask(self, operation: str, **arguments: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"operation": operation, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {"error": "the process ended"}
        return answer

    def restart(self) -> None:
        self.close()
        self._start()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@dataclass(frozen=True)
class Probe:
    """A graph of one operator: its directory, the inputs by tensor, what TensorFlow makes of them, the tensors to ask for."""

    model: Path
    feeds: dict[str, np.ndarray]
    expected: list[np.ndarray]
    outputs: list[str]


def executor_operators(node_modules: Path) -> tuple[list[str], dict[str, list[str]]]:
    """The operators that the executor runs, and those whose parameters it does not find (with the parameters)."""
    root = node_modules / "@tensorflow" / "tfjs-converter" / "dist" / "operations"
    known: list[str] = []
    broken: dict[str, list[str]] = {}
    for listing in sorted((root / "op_list").glob("*.js")):
        executor = root / "executors" / f"{listing.stem}_executor.js"
        if listing.stem in _FAMILIES_LEFT_OUT or not executor.is_file():
            continue
        declared = dict(_declared(_source(listing)))
        read = dict(_read(_source(executor)))
        for operator in sorted(declared.keys() & read.keys()):
            known.append(operator)
            if missing := sorted(read[operator] - declared[operator]):
                broken[operator] = missing
    return sorted(known), broken


def _source(file: Path) -> str:
    return file.read_text(encoding="utf-8").partition("//# sourceMappingURL")[0]


def _declared(text: str) -> Iterator[tuple[str, set[str]]]:
    """Operator and its parameters, of an operator list."""
    for entry in re.split(r"'tfOpName':", text)[1:]:
        name = re.match(r"\s*'(\w+)'", entry)
        if name:
            yield name[1], set(re.findall(r"'name':\s*'(\w+)'", entry))


def _read(text: str) -> Iterator[tuple[str, set[str]]]:
    """Operator and the parameters that its case reads, of an executor."""
    waiting: list[str] = []
    for part in re.split(r"(?=case ')", text)[1:]:
        name, body = re.match(r"case '(\w+)':(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
        waiting.append(name)
        if body.strip():
            parameters = set(re.findall(r"getParamValue\('(\w+)'", body))
            yield from ((operator, parameters) for operator in waiting)
            waiting = []


def versions(node_modules: Path) -> dict[str, str]:
    return {name: json.loads((node_modules / name / "package.json").read_text())["version"] for name in PACKAGES}


def measure(node: Node, operator: str) -> tuple[set[str], dict[str, dict[str, dict[str, str]]]]:
    """The kernels that an operator runs, and per backend, dtype and rank what goes wrong."""
    kernels: dict[str, set[str]] = {}
    wrong: dict[str, dict[str, dict[str, str]]] = {backend: {} for backend in MEASURED}
    tried: dict[str, set[str]] = {}
    for dtype in DTYPES:
        for form in (f for f in FORMS[operator] if dtype in f.dtypes and (f.data or dtype == DTYPES[0])):
            with tempfile.TemporaryDirectory() as scratch:
                probe = _probe(operator, form, dtype, Path(scratch) / "model")
                rank = str(max((len(shape) for shape in form.data.values()), default=0))
                if probe is not None:
                    tried.setdefault(dtype, set()).add(rank)
                for backend in MEASURED if probe is not None else ():
                    answer, trouble = _tried(node, probe, backend)
                    if backend == MEASURED[0]:
                        kernels.setdefault(dtype, set()).update(answer.get("kernels", ()))
                    if trouble:
                        if backend == "wasm" and dtype != "complex64":
                            node.restart()  # a kernel that went wrong may have written where others keep their numbers
                        wrong[backend].setdefault(dtype, {}).setdefault(rank, trouble)
    # Complex numbers run kernels that other dtypes do without.
    real = [used for dtype, used in kernels.items() if dtype != "complex64"]
    used = set().union(*real) if real else kernels.get("complex64", set())
    return used, {backend: {d: _summed(ranks, tried[d]) for d, ranks in found.items()} for backend, found in wrong.items()}


def wrong_of_nothing(node: Node, operator: str) -> list[str]:
    """The backends that give other results than TensorFlow where what an operator takes has no elements, and its result has."""
    found = set()
    for form in FORMS[operator]:
        for emptied, dtype in itertools.product(_emptied(form), DTYPES):
            if dtype == "complex64" or dtype not in form.dtypes:
                continue
            with tempfile.TemporaryDirectory() as scratch:
                probe = _probe(operator, emptied, dtype, Path(scratch) / "model")
                if probe is None or not any(result.size for result in probe.expected):
                    continue
                for backend in set(MEASURED) - found:
                    if _tried(node, probe, backend)[1]:
                        node.restart()
                        found.add(backend)
    return sorted(found)


def _emptied(form: Form) -> Iterator[Form]:
    """The form with one axis after the other of no size in all data that has it, then one size after the other on any axis."""
    shapes = list(form.data.values())
    for axis, size in enumerate(shapes[0] if shapes else ()):
        data = {n: (*s[:axis], 0, *s[axis + 1 :]) if s[axis : axis + 1] == (size,) else s for n, s in form.data.items()}
        yield replace(form, data=data)
    for size in {size for shape in shapes for size in shape} if len(shapes) > 1 else ():  # what a product sums over
        yield replace(form, data={n: tuple(0 if s == size else s for s in shape) for n, shape in form.data.items()})


def _summed(ranks: dict[str, str], tried: set[str]) -> dict[str, str]:
    """What goes wrong at every rank, told once."""
    return {"*": ranks[min(ranks)]} if ranks.keys() == tried else ranks


def _probe(operator: str, form: Form, dtype: str, output: Path) -> Probe | None:
    """A graph of one operator, inputs, and what TensorFlow makes of them; None where TensorFlow has no such kernel."""
    import tensorflow as tf

    from convkit.converters._tfjs_writer import write_graph_model
    from convkit.signature import Signature

    rng = np.random.default_rng(0)
    feeds = {name: _data(rng, shape, dtype, form) for name, shape in form.data.items()}

    def call(*tensors: Any) -> list[Any]:
        given = {form.listed: list(tensors)} if form.listed else dict(zip(form.data, tensors, strict=True))
        fixed = {k: tf.as_dtype(v) if isinstance(v, type) else _typed(v, k, dtype) for k, v in form.fixed.items()}
        results = getattr(tf.raw_ops, operator)(**given, **fixed)
        return [tf.identity(r) for r in (results if isinstance(results, (list, tuple)) else [results])]

    specs = [tf.TensorSpec(a.shape, a.dtype, name=name) for name, a in feeds.items()]
    try:
        function = tf.function(call, input_signature=specs, autograph=False).get_concrete_function()
        expected = [r.numpy() for r in function(*(tf.constant(a) for a in feeds.values()))]
    except (tf.errors.OpError, TypeError, ValueError):
        return None
    graph = function.graph.as_graph_def()
    write_graph_model(output, graph, Signature((), ()), ((), ()), converted_by="", generated_by="")
    named = {t.name: a for t, a in zip(function.inputs, feeds.values(), strict=True)}
    return Probe(output, named, expected, [t.name for t in function.outputs])


def _typed(value: Any, key: str, dtype: str) -> Any:
    """Bounds and the like have the data's dtype."""
    return np.array(value, dtype) if key.startswith("clip_value") else value


def _data(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, form: Form) -> np.ndarray:
    values = rng.uniform(form.low, form.high, shape)
    if dtype == "bool":
        return np.asarray(values > 0)
    if dtype == "int32":
        return np.asarray(np.rint(values * 2)).astype(dtype)
    return np.asarray(values + 1j * rng.uniform(-1, 1, shape) if dtype == "complex64" else values).astype(dtype)


def _tried(node: Node, probe: Probe, backend: str) -> tuple[dict[str, Any], str]:
    """Node's answer, and what is wrong with it."""
    sent = {name: {"values": _listed(a), "shape": list(a.shape), "dtype": a.dtype.name} for name, a in probe.feeds.items()}
    answer = node.ask("run", model=str(probe.model), backend=backend, inputs=sent, outputs=probe.outputs)
    if "error" in answer:
        return answer, " ".join(answer["error"].split())[:160]
    for want, got in zip(probe.expected, answer["results"], strict=True):
        if list(want.shape) != got["shape"]:
            return answer, f"its result has the shape {got['shape']}, not {list(want.shape)}"
        if not _agree(want, got):
            return answer, "its result is wrong"
    return answer, ""


def _listed(array: np.ndarray) -> list[Any]:
    flat = array.ravel()
    return [float(v) for v in flat.view(np.float32)] if array.dtype == np.complex64 else [v.item() for v in flat]


def _agree(want: np.ndarray, got: dict[str, Any]) -> bool:
    values = np.array([math.nan if v is None else float(v) for v in got["values"]])
    if got["dtype"] == "complex64":
        values = values[0::2] + 1j * values[1::2]
    same_kind = (want.dtype.kind in "iu") == (got["dtype"] == "int32") and (want.dtype.kind == "b") == (got["dtype"] == "bool")
    return (
        same_kind and values.size == want.size and bool(np.allclose(values, want.ravel(), rtol=1e-3, atol=1e-4, equal_nan=True))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--node-modules", type=Path, required=True, help="with @tensorflow/tfjs, and its wasm and webgpu backends"
    )
    parser.add_argument("operators", nargs="*")
    options = parser.parse_args()
    from convkit.legalization.tfjs.target import OPERATORS

    node_modules = options.node_modules
    known, broken = executor_operators(node_modules)
    nothing: dict[str, Any] = {"operators": {}, "wrong": {b: {} for b in MEASURED}, "empty": {b: [] for b in MEASURED}}
    data = json.loads(OPERATORS.read_text()) if options.operators else nothing
    node = Node(node_modules)
    try:
        backends = node.ask("backends")
        for operator in options.operators or known:
            kernels = set(_KERNELS.get(operator, {operator} & set(backends["cpu"])))
            if operator in FORMS:
                kernels, wrong = measure(node, operator)
                of_nothing = wrong_of_nothing(node, operator)
                for backend in MEASURED:
                    others = {name for name in data["empty"][backend] if name != operator}
                    data["empty"][backend] = sorted(others | ({operator} if backend in of_nothing else set()))
                    data["wrong"][backend].pop(operator, None)
                    if wrong[backend]:
                        data["wrong"][backend][operator] = wrong[backend]
            data["operators"][operator] = sorted(kernels)
    finally:
        node.close()
    data |= {"versions": versions(node_modules), "broken": dict(sorted(broken.items())), "backends": backends}
    data["wrong"] = {backend: dict(sorted(found.items())) for backend, found in data["wrong"].items()}
    ordered = {key: data[key] for key in ("versions", "operators", "broken", "backends", "wrong", "empty")}
    OPERATORS.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
