"""Which operators, in which dtypes and ranks, a converter and its runtime get right: measured, one operator at a time.

A *probe* is a model of one node on random values (integers reach their dtype's ends, so that overflow shows). It is converted
by a registered converter, run in the target's runtime, and compared with ONNX Runtime, or with onnx's own reference where
ONNX Runtime has no such kernel. Converter and runtime are workers: a process that dies costs one probe.

The verdicts are kept as data in the repository, with the versions that they were measured with (see CONTRIBUTING.md).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from convkit.artifact import Artifact
from convkit.components import ConversionRequest, Converter
from convkit.errors import ConvkitError
from convkit.formats import Variant
from convkit.legalization.verdicts import Verdicts
from convkit.registry import installed_version, runtime_for
from convkit.signature import Signature, TensorSpec
from convkit.workers.pool import WorkerPool

__all__ = ["DTYPES", "Form", "Probe", "collected", "expected", "measure", "probes", "versions"]

OPSET = 21

DTYPES = (
    *("float32", "float16", "float64", "bool"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)

_SECONDS = 60.0
_TOLERANCE = 2e-3
_COARSE_TOLERANCE = 2e-2
"""Of float16, where a runtime may compute in float32 and round once."""


@dataclass(frozen=True)
class Form:
    """A way to use an operator.

    Attributes:
        shapes: Of the inputs that have the dtype that is probed.
        constants: The inputs that follow them, with dtypes of their own; None for one that is left out.
        attributes: Of the node.
        outputs: How many there are.
        low, high: What floats are drawn between.
        nonzero: The inputs in which no integer may be zero.
        leading: The inputs that stand before all others, with dtypes of their own.
    """

    shapes: tuple[tuple[int, ...], ...]
    constants: tuple[np.ndarray | None, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)
    outputs: int = 1
    low: float = -2.0
    high: float = 2.0
    nonzero: tuple[int, ...] = ()
    leading: tuple[np.ndarray, ...] = ()

    @property
    def rank(self) -> int:
        return max(map(len, self.shapes))


@dataclass(frozen=True)
class Probe:
    """One operator in one form and one dtype."""

    operator: str
    dtype: str
    form: Form

    def model(self) -> onnx.ModelProto:
        """A model of this one node, opset 21."""
        names = [f"x{k}" for k in range(len(self.form.shapes))]
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        inputs = [helper.make_tensor_value_info(n, kind, s) for n, s in zip(names, self.form.shapes, strict=True)]
        before = [f"b{k}" for k in range(len(self.form.leading))]
        after = ["" if a is None else f"c{k}" for k, a in enumerate(self.form.constants)]
        arrays = [*zip(before, self.form.leading, strict=True), *zip(after, self.form.constants, strict=True)]
        held = [numpy_helper.from_array(a, name) for name, a in arrays if a is not None]
        operands = [*before, *names, *after]
        results = [f"y{k}" for k in range(self.form.outputs)]
        node = helper.make_node(self.operator, operands, results, name="probe", **self.form.attributes)
        undeclared = [helper.make_empty_tensor_value_info(n) for n in results]
        graph = helper.make_graph([node], "probe", inputs, undeclared, held)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)

    def feeds(self, seed: int = 0) -> dict[str, np.ndarray]:
        generator = np.random.default_rng(seed)
        return {f"x{k}": self._draw(generator, shape, k) for k, shape in enumerate(self.form.shapes)}

    def _draw(self, generator: np.random.Generator, shape: Sequence[int], position: int) -> np.ndarray:
        dtype = np.dtype(self.dtype)
        if dtype.kind == "b":
            return generator.random(shape) < 0.5
        if dtype.kind == "f":
            return generator.uniform(self.form.low, self.form.high, shape).astype(dtype)
        # Small numbers, and at the ends of the dtype a few: sums and products wrap around there. Those of 32 bits and more
        # stay where no product of a few overflows, which ONNX leaves open.
        info = np.iinfo(dtype)
        ends = (info.min, info.max) if dtype.itemsize <= 2 else (max(info.min, -100), 100)
        values = np.asarray(generator.integers(max(info.min, -5), 6, shape), dtype)
        values = np.where(generator.random(shape) < 0.25, generator.choice(np.array(ends, dtype), shape), values).astype(dtype)
        return np.where(values == 0, 1, values).astype(dtype) if position in self.form.nonzero else values


def probes(forms: Mapping[str, Sequence[Form]], dtypes: Iterable[str] = DTYPES) -> Iterator[Probe]:
    """Every form in every dtype that ONNX allows its first input."""
    chosen = list(dtypes)
    for operator, some in forms.items():
        allowed = _allowed(operator, len(some[0].leading))
        yield from (Probe(operator, dtype, form) for dtype in chosen if dtype in allowed for form in some)


def _allowed(operator: str, position: int) -> set[str]:
    schema = onnx.defs.get_schema(operator, OPSET)
    names = {"float": "float32", "double": "float64"}
    bare = (t.removeprefix("tensor(").removesuffix(")") for t in schema.inputs[position].types)
    return {names.get(t, t) for t in bare}


def expected(probe: Probe, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray] | None:
    """What ONNX Runtime computes, or onnx's reference; None where neither has it."""
    import onnxruntime
    from onnx.reference import ReferenceEvaluator

    model = probe.model()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return [np.asarray(a) for a in session.run(None, dict(feeds))]
    except Exception:
        try:
            return [np.asarray(a) for a in ReferenceEvaluator(model).run(None, dict(feeds))]
        except Exception:
            return None


def measure(
    converter: Converter, chosen: Iterable[Probe], pool: WorkerPool, options: Mapping[str, Any] | None = None
) -> Iterator[tuple[Probe, str | None]]:
    """Runs probes.

    Args:
        converter: Reads ONNX.
        chosen: What to probe.
        pool: Whose workers do the work.
        options: The converter's options.

    Yields:
        Each probe with what went wrong: "" where nothing did, None where nobody knows the right answer.
    """
    with tempfile.TemporaryDirectory(prefix="convkit-probing-") as directory:
        for probe in chosen:
            yield probe, _one(converter, probe, pool, Path(directory), options or {})


def versions(converter: Converter) -> dict[str, str]:
    """The versions that verdicts depend on."""
    runtime = runtime_for(converter.target)
    packages = [*converter.host.packages, *(runtime.host.packages if runtime else ())]
    return {p: v for p in dict.fromkeys(packages) if (v := installed_version(p))}


def _one(converter: Converter, probe: Probe, pool: WorkerPool, directory: Path, options: Mapping[str, Any]) -> str | None:
    feeds = probe.feeds()
    try:
        wanted = expected(probe, feeds)
    except onnx.shape_inference.InferenceError:
        return None
    if wanted is None:
        return None
    source, inputs, outputs = (directory / n for n in ("model.onnx", "inputs.npz", "outputs.npz"))
    model = probe.model()
    onnx.save(model, source)
    signature = _signature(model)
    output = directory / f"out{converter.target.suffix}"
    for old in (output, outputs):
        old.unlink(missing_ok=True)
    np.savez(inputs, **feeds)  # type: ignore[arg-type]
    request = ConversionRequest(Artifact(Variant.ONNX, source, signature), output, signature, inputs, options)
    runtime = runtime_for(converter.target)
    assert runtime is not None
    try:
        pool.worker(converter.host).call(
            "convkit.workers.running:convert",
            {"module": converter.module, "request": request.to_json()},
            stage="convert",
            component=converter.name,
            timeout=_SECONDS,
        )
        answer = pool.worker(runtime.host).call(
            "convkit.workers.running:run",
            {
                "module": runtime.module,
                "artifact": Artifact(converter.target, output, signature).to_json(),
                "inputs": [str(inputs)],
                "outputs": [str(outputs)],
            },
            stage="validate",
            component=runtime.name,
            timeout=_SECONDS,
        )
    except ConvkitError as error:
        return _short(error.message)
    if answer.result[0]["error"]:
        return _short(answer.result[0]["error"])
    with np.load(outputs) as held:
        return _difference(wanted, [held[name] for name in signature.output_names], probe.dtype)


def _signature(model: onnx.ModelProto) -> Signature:
    def specs(values: Any) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(
                v.name,
                np.dtype(helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type)).name,
                tuple(
                    d.dim_value if d.HasField("dim_value") else f"{v.name}_{k}"
                    for k, d in enumerate(v.type.tensor_type.shape.dim)
                ),
            )
            for v in values
        )

    return Signature(specs(model.graph.input), specs(model.graph.output))


def _difference(wanted: Sequence[np.ndarray], got: Sequence[np.ndarray], dtype: str) -> str:
    tolerance = _COARSE_TOLERANCE if dtype == "float16" else _TOLERANCE
    for mine, theirs in zip(wanted, got, strict=True):
        if mine.shape != theirs.shape:
            return f"wrong: shape {list(theirs.shape)} for {list(mine.shape)}"
        if mine.dtype.kind == "f":
            scale = float(np.abs(np.nan_to_num(mine.astype(np.float64))).max(initial=0.0)) or 1.0
            same = np.allclose(theirs.astype(np.float64), mine.astype(np.float64), rtol=0, atol=tolerance * scale, equal_nan=True)
        else:
            same = bool(np.array_equal(mine, theirs))
        if not same:
            return "wrong: other values"
    return ""


def _short(message: str) -> str:
    return " ".join(message.split())[:120]


def collected(results: Iterable[tuple[Probe, str | None]], converter: Converter) -> Verdicts:
    """The verdicts of many probes together."""
    verdicts = Verdicts(converter.name, versions(converter))
    right: set[tuple[str, str]] = set()
    for probe, trouble in results:
        if trouble is None:
            continue
        ranks = verdicts.wrong.setdefault(probe.operator, {}).setdefault(probe.dtype, {})
        if trouble:
            ranks.setdefault(str(probe.form.rank), trouble)
        else:
            right.add((probe.operator, probe.dtype))
    for operator, dtypes in verdicts.wrong.items():
        for dtype, ranks in dtypes.items():
            if ranks and (operator, dtype) not in right:
                dtypes[dtype] = {"*": next(iter(ranks.values()))}
    return verdicts


def main(arguments: Sequence[str] | None = None) -> None:
    """`python -m benchmarks.probing`: measures LiteRT's kernels anew and writes the verdicts into the package."""
    import argparse

    from benchmarks.probe_forms import FORMS
    from convkit.legalization.onnx import litert
    from convkit.registry import find_converter
    from convkit.workers.pool import fresh_pool

    parser = argparse.ArgumentParser(prog="python -m benchmarks.probing", description=main.__doc__)
    parser.add_argument("--converter", default="onnx-tflite", help="which converter from ONNX to probe")
    parser.add_argument("--output", type=Path, default=litert.VERDICTS, help="the file to write")
    parser.add_argument("operators", nargs="*", help="all by default; the file keeps what it says of others")
    chosen = parser.parse_args(arguments)
    converter = find_converter(chosen.converter)
    forms = {o: FORMS[o] for o in chosen.operators or FORMS}
    with fresh_pool() as pool:
        verdicts = collected(_told(measure(converter, probes(forms), pool, {"as_is": True})), converter)
    if chosen.operators and chosen.output.exists():
        verdicts.wrong = {**Verdicts.load(chosen.output).wrong, **verdicts.wrong}
    verdicts.save(chosen.output)
    print(f"wrote {chosen.output}")


def _told(results: Iterable[tuple[Probe, str | None]]) -> Iterator[tuple[Probe, str | None]]:
    for probe, trouble in results:
        if trouble:
            print(f"{probe.operator} {probe.dtype} rank {probe.form.rank}: {trouble}", flush=True)
        yield probe, trouble


if __name__ == "__main__":
    main()
