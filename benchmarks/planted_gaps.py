"""Does a gap name the place? Thirty PyTorch models, each with one operator that a target lacks planted somewhere.

Usage: python -m benchmarks.planted_gaps [--only REGEX] [--output DIRECTORY]

The models are written as source files in the ways that people write models: blocks in a list, helper functions, base classes,
methods, expressions over several lines. Each is exported with torch.export (strict and not), or handed over as a function that
builds it, and checked. The finding must name the path of the innermost module whose forward ran the operator, and the source line
of the call; nothing else may be called a gap.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["MODELS", "Model", "source"]

ROOT = Path(__file__).resolve().parent.parent / "build" / "planted-gaps"

_HEAD = '''"""A model with an operator planted in it."""

import torch
from torch import nn
from torch.nn import functional


def build():
    return Net().eval()


EXAMPLE = torch.linspace(-1, 2, 16).reshape(4, 4)


'''

# How the planted expression sits in a model: source, and the path of the module whose forward runs it.
_STRUCTURES = {
    "root": ("", '''class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.project = nn.Linear(4, 4)

    def forward(self, x):
        x = self.project(x)
        y = PLANT
        return x, y
'''),
    "block in a list": ("blocks.2", '''class Block(nn.Module):
    def __init__(self, planted):
        super().__init__()
        self.linear = nn.Linear(4, 4)
        self.planted = planted

    def forward(self, x):
        x = functional.gelu(self.linear(x))
        if self.planted:
            return PLANT
        return x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Block(k == 2) for k in range(3))

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        return x
'''),
    "helper function": ("head.score", '''def helper(x):
    x = x * 2
    return PLANT


class Score(nn.Module):
    def forward(self, x):
        return helper(x.relu())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.ModuleDict({"first": nn.Linear(4, 4), "score": Score()})

    def forward(self, x):
        return self.head["score"](self.head["first"](x))
'''),
    "sequential": ("features.1.mix", '''class Mix(nn.Module):
    def forward(self, x):
        return PLANT


class Stage(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4)
        self.mix = Mix()

    def forward(self, x):
        return self.mix(self.norm(x))


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Linear(4, 4), Stage())

    def forward(self, x):
        return self.features(x)
'''),
    "method of a base class": ("encoder", '''class Base(nn.Module):
    def forward(self, x):
        return self.refined(self.linear(x))

    def refined(self, x):
        return PLANT


class Encoder(Base):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = Encoder()

    def forward(self, x):
        return self.encoder(x)
'''),
    "several lines": ("decoder.layers.0", '''class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            x = self.up(x).relu()
            x = (
                PLANT
            )
        return x


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Layer()])

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.decoder = Decoder()

    def forward(self, x):
        return self.decoder(x)
'''),
    "a module that is shared": ("tied.0", '''class Tied(nn.Module):
    def forward(self, x):
        return PLANT


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.tied = nn.Sequential(Tied(), nn.Linear(4, 4))

    def forward(self, x):
        return self.tied(x)
'''),
}  # fmt: skip

# What no converter to any of the targets has today, from x of shape [4, 4].
_EXPRESSIONS = {
    "gammainc": "torch.special.gammainc(x.abs() + 1, x.abs() + 1)",
    "svdvals": "torch.linalg.svdvals(x).reshape(1, 4) + x",
    "pinv": "torch.linalg.pinv(x)",
    "eigvalsh": "torch.linalg.eigvalsh(x @ x.mT).reshape(1, 4) + x",
    "eigvals": "torch.linalg.eigvals(x).abs().reshape(1, 4) + x",
    "nuclear norm": "x / torch.linalg.matrix_norm(x, 'nuc')",
    "noise": "x + torch.randn_like(x)",
    "dropout": "functional.dropout(x, 0.5, training=True)",
    "hash": "x + torch.hash_tensor(x).to(torch.float32)",
    "zeta": "torch.special.zeta(x.abs() + 2, x.abs() + 1)",
}
_TARGETS = ("executorch", "litert", "onnx")
_WAYS = ("exported", "strict", "factory")
_HELPERS = ("helper function", "method of a base class")
"""Where torch.export without Dynamo records no more than the line of `forward` that calls the helper."""


@dataclass(frozen=True)
class Model:
    """One model.

    Attributes:
        name: For the table.
        structure, expression: See above.
        target: The format that lacks the operator.
        way: How it is handed over: "exported" (torch.export), "strict" (the same through Dynamo), "factory" (a function).
    """

    name: str
    structure: str
    expression: str
    target: str
    way: str


def _models() -> Iterator[Model]:
    structures = list(_STRUCTURES)
    for position, (expression, target) in enumerate((e, t) for e in _EXPRESSIONS for t in _TARGETS):
        structure = structures[position % len(structures)]
        way = _WAYS[1 + position % 2 if structure in _HELPERS else position % len(_WAYS)]
        yield Model(f"{expression} → {target}, {structure}, {way}", structure, expression, target, way)


MODELS = tuple(_models())


def source(model: Model) -> tuple[str, str, int]:
    """A model's source text, the path of the module that has the operator, and the line of the call."""
    path, body = _STRUCTURES[model.structure]
    lines = (_HEAD + body).splitlines(keepends=True)
    (line,) = (n for n, text in enumerate(lines, 1) if "PLANT" in text)
    return "".join(lines).replace("PLANT", _EXPRESSIONS[model.expression]), path, line


def judge(model: Model, directory: Path) -> str:
    """Checks a model; "" where the finding names the place, else what it says."""
    import convkit

    text, path, line = source(model)
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"net_{MODELS.index(model)}.py"
    file.write_text(text)
    if model.way == "factory":
        result = convkit.check(None, model.target, model_factory=f"{file}:build", input_specs=["x:float32[4,4]"])
    else:
        result = convkit.check(_exported(file, model.way == "strict"), model.target)
    if result.ok:
        return "no gap"
    wanted = f"{path} ({file}:{line})" if path else f"{file}:{line}"
    wanted = wanted.replace(f"{Path.cwd()}/", "")
    wrong = [str(gap) for gap in result.gaps if gap.where != (wanted,)]
    return "; ".join(wrong) and f"wanted {wanted}: {'; '.join(wrong)}"


def _exported(file: Path, strict: bool) -> Path:
    import importlib.util

    import torch

    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    path = file.with_suffix(".pt2")
    torch.export.save(torch.export.export(module.build(), (module.EXAMPLE,), strict=strict), path)
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="a regular expression on the names")
    parser.add_argument("--output", type=Path, default=ROOT)
    arguments = parser.parse_args()
    chosen = [m for m in MODELS if re.search(arguments.only, m.name)]
    right = 0
    for model in chosen:
        try:
            wrong = judge(model, arguments.output)
        except Exception as error:
            wrong = f"{type(error).__name__}: {error}"
        right += not wrong
        print(f"{'ok ' if not wrong else 'NO '} {model.name}{': ' + wrong if wrong else ''}", flush=True)
    print(f"{right} of {len(chosen)} findings name the module's path and the source line, and nothing else is called a gap")
    return 0 if right == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
