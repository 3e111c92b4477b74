"""Does --reduce find the culprit? Twenty failures planted in models of more than 200 nodes, each shrunk on its own.

Usage: python -m benchmarks.reductions [--only REGEX] [--output DIRECTORY]

A row passes when what is left has at most five nodes, among them the planted one, still fails in the same way, and was found in
at most 60 seconds.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["ROWS", "Row"]

ROOT = Path(__file__).resolve().parent.parent / "build" / "reductions"
_LARGEST, _SECONDS = 5, 60
_WIDTH = 4


@dataclass(frozen=True)
class Row:
    """One failure: an ONNX operator (with its domain) or an expression of PyTorch, in a model that should reach a target."""

    planted: str
    target: str
    write: Callable[[Path], Path]
    expected: str


def _onnx(operator: str, domain: str = "", dtype: int = 1, **attributes: Any) -> Callable[[Path], Path]:
    """A chain of 55 blocks of MatMul, Tanh, Add and Sigmoid with the operator behind the thirtieth."""

    def write(path: Path) -> Path:
        import numpy as np
        import onnx
        from onnx import helper, numpy_helper

        generator, nodes, constants, value = np.random.default_rng(0), [], [], "x"
        infos = []
        for k in range(55):
            constants.append(numpy_helper.from_array(generator.standard_normal((_WIDTH, _WIDTH)).astype(np.float32), f"w{k}"))
            steps = (("MatMul", [value, f"w{k}"]), ("Tanh", [f"v{k}_0"]), ("Add", [f"v{k}_1", value]), ("Sigmoid", [f"v{k}_2"]))
            nodes += [helper.make_node(kind, given, [f"v{k}_{j}"], name=f"{kind}_{k}") for j, (kind, given) in enumerate(steps)]
            value = f"v{k}_3"
            if k == 30:
                nodes += [
                    helper.make_node("Cast", [value], ["before"], to=dtype, name="before"),
                    helper.make_node(operator, ["before"] * (2 if operator in _BINARY else 1), ["planted"], name="planted",
                                     domain=domain, **attributes),
                    helper.make_node("Cast", ["planted"], ["after"], to=1, name="behind"),
                    helper.make_node("Reshape", ["after", "shape"], ["back"], name="back"),
                ]  # fmt: skip
                constants.append(numpy_helper.from_array(np.array([-1, _WIDTH]), "shape"))
                infos = [helper.make_tensor_value_info("planted", _RESULTS.get(operator, dtype), [4, _WIDTH])]
                value = "back"
        image = helper.make_tensor_value_info("x", 1, [4, _WIDTH])
        result = helper.make_tensor_value_info(value, 1, None)
        graph = helper.make_graph(nodes, "g", [image], [result], constants, value_info=infos)
        opsets = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
        file = path.with_suffix(".onnx")
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), file)
        return file

    return write


_BINARY = ("Mul", "Sub", "Less")
_RESULTS = {"Multinomial": 6, "Less": 9}
_FLOAT, _UINT16, _UINT32, _UINT64 = 1, 4, 12, 13


def _torch(expression: str) -> Callable[[Path], Path]:
    """Seventy linear layers with activations and sums, and the expression in the middle."""

    def write(path: Path) -> Path:
        import torch
        from torch import nn
        from torch.nn import functional

        class Net(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layers = nn.ModuleList(nn.Linear(_WIDTH, _WIDTH) for _ in range(70))

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                for k, layer in enumerate(self.layers):
                    x = torch.tanh(layer(x)) + x
                    if k == 35:
                        x = eval(expression, {"torch": torch, "functional": functional, "x": x})
                return x

        file = path.with_suffix(".pt2")
        torch.export.save(torch.export.export(Net().eval(), (torch.randn(4, _WIDTH),)), file)
        return file

    return write


ROWS = (
    *(
        Row("custom operator", t, _onnx("Mystery", "my.domain"), "my.domain::Mystery")
        for t in ("pytorch", "savedmodel", "litert", "tfjs")
    ),
    *(Row("Multinomial", t, _onnx("Multinomial", sample_size=_WIDTH), "Multinomial") for t in ("pytorch", "litert", "tfjs")),
    Row("unsigned product", "executorch", _onnx("Mul", dtype=_UINT64), "Cast"),
    Row("unsigned difference", "executorch", _onnx("Sub", dtype=_UINT32), "Cast"),
    Row("unsigned comparison", "executorch", _onnx("Less", dtype=_UINT16), "Cast"),
    *(
        Row("singular values", t, _torch("x + torch.linalg.svdvals(x).sum()"), "aten.linalg_svdvals.default")
        for t in ("executorch", "litert", "onnx")
    ),
    Row("pseudo-inverse", "litert", _torch("torch.linalg.pinv(x)"), "aten.linalg_pinv.atol_rtol_tensor"),
    Row(
        "incomplete gamma", "executorch", _torch("torch.special.gammainc(x.abs() + 1, x.abs())"), "aten.special_gammainc.default"
    ),
    Row("noise", "onnx", _torch("x + torch.randn_like(x)"), "aten.randn_like.default"),
    Row("dropout", "litert", _torch("functional.dropout(x, 0.5, training=True)"), "aten.dropout.default"),
    Row("Bessel", "onnx", _torch("torch.special.bessel_j0(x)"), "aten.special_bessel_j0.default"),
    Row("checksum", "onnx", _torch("x + torch.hash_tensor(x).to(torch.float32)"), "aten.hash_tensor.default"),
    Row("unique", "executorch", _torch("x + torch.unique(x.round()).sum()"), "aten._unique2.default"),
)


def judge(row: Row, directory: Path) -> tuple[str, str]:
    """What came out, and "" or what is wrong with it."""
    import convkit
    from convkit.readers import inspect

    directory.mkdir(parents=True, exist_ok=True)
    model = row.write(directory / f"model-{ROWS.index(row)}")
    output = directory / f"repro-{ROWS.index(row)}"
    shutil.rmtree(output, ignore_errors=True)
    found = convkit.reduce(model, row.target, output)
    told = f"{found.before} → {found.after} nodes in {found.seconds:.0f} s ({found.failure.kind})"
    operators = inspect(found.model).operators
    if found.after > _LARGEST or found.seconds > _SECONDS:
        return told, "too large, or too slow"
    if row.expected not in operators:
        return told, f"it holds {', '.join(operators)}"
    return told, ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a regular expression on `operator → target`")
    parser.add_argument("--output", type=Path, default=ROOT)
    arguments = parser.parse_args()
    chosen = [row for row in ROWS if re.search(arguments.only, f"{row.planted} → {row.target}")]
    right = 0
    for row in chosen:
        try:
            told, wrong = judge(row, arguments.output)
        except Exception as error:
            told, wrong = "", f"{type(error).__name__}: {error}"
        right += not wrong
        print(f"{'NO ' if wrong else 'ok '} {row.planted} → {row.target}: {told} {wrong}", flush=True)
    print(f"{right} of {len(chosen)} are at most {_LARGEST} nodes in at most {_SECONDS} s")
    return 0 if right == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
