"""Do the hints help? Thirty gaps that people meet, and each model again with the finding's suggestion followed.

Usage: python -m benchmarks.ways_out [--only REGEX] [--output DIRECTORY]

A row passes when the first model is refused, the first finding's hint names the change that the second model has made, and the
second model converts with proof.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Row", "rows"]

ROOT = Path(__file__).resolve().parent.parent / "build" / "ways-out"


@dataclass(frozen=True)
class Row:
    """One gap.

    Attributes:
        name: For the table.
        target: The format.
        before, after: Write the model to a path without suffix and return its file: as it is, and with the suggestion followed.
        change: What the hint must name.
    """

    name: str
    target: str
    before: Callable[[Path], Path]
    after: Callable[[Path], Path]
    change: str


def _inverse(x: Any) -> Any:
    y = x.mT / (x.abs().sum(-1).amax(-1) * x.abs().sum(-2).amax(-1))[..., None, None]
    for _ in range(30):
        y = 2 * y - y @ x @ y
    return y


def _largest(x: Any) -> Any:
    import torch
    from torch.nn import functional

    v = torch.ones(x.shape[-1])
    for _ in range(20):
        v = functional.normalize(x.mT @ (x @ v), dim=0)
    return (x @ v).norm().reshape(1)


def _eigenvalue(x: Any) -> Any:
    import torch
    from torch.nn import functional

    v = torch.ones(x.shape[-1])
    for _ in range(20):
        v = functional.normalize(x @ v, dim=0)
    return (v @ x @ v).reshape(1)


def _table(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    import torch

    table = function(torch.linspace(0.5, 4.5, 65))

    def interpolated(x: Any) -> Any:
        position = (x - 0.5) * 16
        k = position.floor().clamp(0, 63)
        return torch.lerp(table[k.long()], table[k.long() + 1], position - k)

    return interpolated


def _torch_rows() -> Iterator[Row]:
    import torch
    from torch.nn import functional

    def plus(x: Any) -> Any:
        return x + 9 * torch.eye(4)

    def regular(x: Any) -> Any:
        return x @ x.mT + torch.eye(4)

    def noisy(x: Any, noise: Any) -> Any:
        return x + noise

    def counted(x: Any) -> Any:
        return torch.searchsorted(x.abs().long().sum(1).cumsum(0), torch.arange(8), right=True).clamp(max=3)

    def masked(x: Any) -> Any:
        return torch.where(torch.arange(4)[:, None] < x.abs().argmax() % 4 + 1, x, 0.0).sum().reshape(1)

    two = torch.tensor(2.0)
    bessel = _table(torch.special.bessel_j0)
    zeta = _table(lambda t: torch.special.zeta(t + 1, two))
    gamma = _table(lambda t: torch.special.gammainc(two, t))
    changes: list[tuple[str, str, Callable[..., Any], Callable[..., Any], str]] = [
        ("inverse", "onnx", lambda x: torch.linalg.inv(plus(x)), lambda x: _inverse(plus(x)), "invert by iteration"),
        ("pseudo-inverse", "litert", lambda x: torch.linalg.pinv(plus(x)), lambda x: _inverse(plus(x)), "invert by iteration"),
        (
            "solve", "executorch",
            lambda x: torch.linalg.solve(plus(x), x), lambda x: _inverse(plus(x)) @ x, "invert by iteration",
        ),
        ("singular values", "litert", lambda x: torch.linalg.svdvals(x)[:1], _largest, "power iteration"),
        ("spectral norm", "executorch", lambda x: torch.linalg.matrix_norm(x, 2).reshape(1), _largest, "power iteration"),
        ("singular value", "onnx", lambda x: torch.linalg.svdvals(x)[:1], _largest, "power iteration"),
        (
            "eigenvalues", "onnx",
            lambda x: torch.linalg.eigvalsh(regular(x))[-1:], lambda x: _eigenvalue(regular(x)), "power iteration",
        ),
        (
            "eigenvalues", "executorch",
            lambda x: torch.linalg.eigvalsh(regular(x))[-1:], lambda x: _eigenvalue(regular(x)), "power iteration",
        ),
        (
            "Cholesky", "onnx",
            lambda x: torch.linalg.cholesky(regular(x)), lambda x: torch.linalg.cholesky_ex(regular(x))[0], "cholesky_ex",
        ),
        (
            "quantiles", "litert",
            lambda x: torch.special.ndtri(x.sigmoid()), lambda x: 2**0.5 * torch.erfinv(2 * x.sigmoid() - 1), "torch.erfinv",
        ),
        (
            "quantiles", "onnx",
            lambda x: torch.special.ndtri(x.sigmoid()), lambda x: 2**0.5 * torch.erfinv(2 * x.sigmoid() - 1), "torch.erfinv",
        ),
        (
            "Chebyshev features", "litert",
            lambda x: torch.special.chebyshev_polynomial_t(x, 3), lambda x: 4 * x**3 - 3 * x, "write the polynomial out",
        ),
        (
            "Bessel window", "executorch",
            lambda x: torch.special.bessel_j0(x.sigmoid() * 3 + 1),
            lambda x: bessel(x.sigmoid() * 3 + 1), "interpolate",
        ),
        (
            "zeta", "onnx",
            lambda x: torch.special.zeta(x.sigmoid() * 2 + 1.5, torch.tensor(2.0)),
            lambda x: zeta(x.sigmoid() * 2 + 0.5), "interpolate",
        ),
        (
            "incomplete gamma", "litert",
            lambda x: torch.special.gammainc(torch.tensor(2.0), x.sigmoid() * 3 + 1),
            lambda x: gamma(x.sigmoid() * 3 + 1), "interpolate",
        ),
        (
            "determinant", "executorch",
            lambda x: torch.linalg.det(x[:2, :2]).reshape(1), lambda x: (x[0, 0] * x[1, 1] - x[0, 1] * x[1, 0]).reshape(1),
            "write the determinant",
        ),
        (
            "polar form", "executorch",
            lambda x: torch.view_as_real(torch.polar(x.abs(), x)),
            lambda x: torch.stack((x.abs() * x.cos(), x.abs() * x.sin()), -1), "torch.stack",
        ),
        (
            "histogram of classes", "executorch",
            lambda x: torch.bincount(x.abs().long().reshape(-1), minlength=8),
            lambda x: functional.one_hot(x.abs().long().clamp(0, 7).reshape(-1), 8).sum(0), "one_hot",
        ),
        ("unique", "executorch", lambda x: torch.unique(x.round()), lambda x: torch.sort(x.round().reshape(-1))[0], "torch.sort"),
        (
            "repeats from data", "executorch",
            lambda x: torch.repeat_interleave(x, x.abs().long().sum(1), 0).sum().reshape(1), lambda x: x[counted(x)],
            "torch.searchsorted",
        ),
        (
            "slice to a length from data", "executorch",
            lambda x: x[: x.abs().argmax().item() % 4 + 1].sum().reshape(1), masked, "mask what does not count",
        ),
        (
            "unsigned arithmetic", "executorch",
            lambda x: (x.abs().to(torch.uint16) + torch.ones(4, 4).to(torch.uint16)).to(torch.float32),
            lambda x: (x.abs().to(torch.int64) + torch.ones(4, 4).to(torch.int64)).to(torch.float32), "torch.int64",
        ),
        (
            "dropout in training", "litert",
            lambda x: functional.dropout(x, 0.5, training=True), lambda x: functional.dropout(x, 0.5, training=False), "eval()",
        ),
        ("noise", "onnx", lambda x: x + torch.randn_like(x), noisy, "an input of the model"),
        ("sampling", "executorch", lambda x: x + torch.rand(4, 4), noisy, "an input of the model"),
        (
            "leaky slopes at random", "onnx",
            lambda x: functional.rrelu(x, 0.1, 0.3), lambda x: functional.leaky_relu(x, 0.2), "leaky_relu",
        ),
    ]  # fmt: skip
    for name, target, before, after, change in changes:
        yield Row(f"{name} → {target}", target, _program(before), _program(after), change)


def _program(function: Callable[..., Any]) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        import inspect

        import torch

        class Net(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.linear = torch.nn.Linear(4, 4)

            def forward(self, *given: Any) -> Any:
                return function(self.linear(given[0]), *given[1:])

        torch.manual_seed(0)
        arguments = tuple(torch.randn(4, 4) for _ in inspect.signature(function).parameters)
        file = path.with_suffix(".pt2")
        torch.export.save(torch.export.export(Net().eval(), arguments), file)
        return file

    return write


def _onnx_rows() -> Iterator[Row]:
    from onnx import TensorProto, helper

    make, value = helper.make_node, helper.make_tensor_value_info
    image, regions = value("x", 1, [1, 2, 8, 8]), value("rois", 1, [3, 5])
    pooled = value("y", 1, [3, 2, 2, 2])
    corners = helper.make_tensor("corners", TensorProto.INT64, [1], [1])
    indices = helper.make_tensor("indices", TensorProto.INT64, [3], [0, 0, 0])
    end = helper.make_tensor("end", TensorProto.INT64, [1], [5])
    axis = helper.make_tensor("axis", TensorProto.INT64, [1], [1])
    yield Row(
        "MaxRoiPool → savedmodel", "savedmodel",
        _graph([make("MaxRoiPool", ["x", "rois"], ["y"], pooled_shape=[2, 2])], [image, regions], [pooled]),
        _graph(
            [
                make("Slice", ["rois", "corners", "end", "axis"], ["boxes"]),
                make("RoiAlign", ["x", "boxes", "indices"], ["y"], mode="max", sampling_ratio=2, output_height=2, output_width=2),
            ],
            [image, regions], [pooled], [corners, end, axis, indices],
        ),
        "RoiAlign",
    )  # fmt: skip
    flat, chosen = value("x", 1, [2, 4]), value("y", TensorProto.INT32, [2, 1])
    yield Row(
        "Multinomial → litert", "litert",
        _graph([make("Multinomial", ["x"], ["y"], sample_size=1)], [flat], [chosen]),
        _graph(
            [make("Add", ["x", "noise"], ["h"]), make("ArgMax", ["h"], ["i"], axis=1), make("Cast", ["i"], ["y"], to=6)],
            [flat, value("noise", 1, [2, 4])], [chosen],
        ),
        "an input of the graph",
    )  # fmt: skip
    result = value("y", 1, [2, 4])
    body = [make("Sigmoid", ["a"], ["s"]), make("Mul", ["a", "s"], ["b"])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("my.domain", 1)]
    swish = helper.make_function("my.domain", "Swish", ["a"], ["b"], body, opsets[:1])
    custom = [make("Swish", ["x"], ["y"], domain="my.domain")]
    for target in ("pytorch", "tfjs"):
        yield Row(
            f"custom operator → {target}", target,
            _graph(custom, [flat], [result], opsets=opsets),
            _graph(custom, [flat], [result], opsets=opsets, functions=[swish]),
            "a function of standard operators",
        )  # fmt: skip


def _graph(
    nodes: list[Any], inputs: list[Any], outputs: list[Any], constants: Any = (), opsets: Any = None, functions: Any = ()
) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        import onnx

        graph = onnx.helper.make_graph(nodes, "g", inputs, outputs, constants)
        imports = opsets or [onnx.helper.make_opsetid("", 17)]
        file = path.with_suffix(".onnx")
        onnx.save(onnx.helper.make_model(graph, opset_imports=imports, functions=functions, ir_version=9), file)
        return file

    return write


def rows() -> list[Row]:
    """All thirty."""
    return [*_torch_rows(), *_onnx_rows()]


def judge(row: Row, directory: Path) -> str:
    """ "" where the suggestion helps, else why not."""
    import convkit

    directory.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", row.name)
    found = convkit.check(row.before(directory / f"{name}-before"), row.target)
    if found.ok:
        return "it is no gap"
    if row.change not in found.gaps[0].hint:
        return f"the first finding suggests something else: {found.gaps[0]}"
    after = row.after(directory / f"{name}-after")
    convkit.convert(after, row.target, directory / f"{name}.converted", force=True)
    return ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a regular expression on the names")
    parser.add_argument("--output", type=Path, default=ROOT)
    arguments = parser.parse_args()
    chosen = [row for row in rows() if re.search(arguments.only, row.name)]
    helped = 0
    for row in chosen:
        try:
            why = judge(row, arguments.output)
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
        helped += not why
        print(f"{'NO ' if why else 'ok '} {row.name}{': ' + why if why else ''}", flush=True)
    print(f"{helped} of {len(chosen)} first suggestions make the conversion pass")
    return 0


if __name__ == "__main__":
    sys.exit(main())
