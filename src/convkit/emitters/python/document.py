"""The whole file: what it was made of, the module, and the function that loads it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.export.graph_signature import OutputKind

from convkit import __version__
from convkit.components import Origin
from convkit.emitters.python.expressions import Expression, Group, Text, call, flat, literal, sequence, statement
from convkit.emitters.python.functions import FunctionWriter
from convkit.emitters.python.modules import Tree, assignment
from convkit.emitters.python.names import Names, class_name
from convkit.emitters.python.weights import Weights, strides
from convkit.reports.terminal import printable
from convkit.signature import Signature

__all__ = ["source"]


def source(
    program: torch.export.ExportedProgram,
    weights: Weights,
    signature: Signature,
    origin: Origin,
    file: Path,
    *,
    literally: bool = False,
) -> str:
    """The text of the file.

    Args:
        program: The program.
        weights: Its tensors.
        signature: The names of its inputs and outputs.
        origin: What it was made of.
        file: Where the text is going to be; the weights are beside it.
        literally: Write all operators as `torch.ops.…`.
    """
    name = class_name(file.stem)
    tree = Tree.of(weights.tensors, weights.tied)
    forward = _forward(program, weights, tree, signature, literally)
    maker = _Maker(weights.tensors.values())
    body = [
        *_init(tree, weights, maker),
        "",
        *forward,
    ]
    text = "\n".join(body)
    lines = [
        *_header(name, signature, origin, file),
        "",
        *(["import math"] if "math." in text else []),
        "from pathlib import Path",
        "",
        "import torch",
        *(["import torch.nn.functional as F"] if "F." in text else []),
        "from safetensors.torch import load_model",
        "from torch import nn",
        "",
        'WEIGHTS = Path(__file__).with_suffix(".safetensors")',
        *maker.helpers(),
        *(_CONTAINER if "Weights(" in text else []),
        "",
        "",
        f"class {name}(nn.Module):",
        *body,
        "",
        "",
        *statement("", Group("def load(", (("weights: str | Path = ", Text("WEIGHTS")),), ")"), 0, f" -> {name}:"),
        '    """The module with its weights, for inference."""',
        f"    model = {name}()",
        "    load_model(model, weights)",
        "    return model.eval()",
    ]
    return "\n".join(lines) + "\n"


_CONTAINER = (
    "",
    "",
    "class Weights(nn.Module):",
    '    """Parameters and buffers under their own names; `forward` of the model computes."""',
    "",
    # A member may be called `self`, as BERT's attention is.
    "    def __init__(self, /, **members: nn.Module | torch.Tensor) -> None:",
    "        super().__init__()",
    "        for name, member in members.items():",
    "            setattr(self, name, member)",
)


def _header(name: str, signature: Signature, origin: Origin, file: Path) -> list[str]:
    module, results = file.stem, _parameters([t.name for t in signature.outputs], Names())
    sentences = (
        f"Written by convkit {__version__} from {origin.file} ({origin.kind}{origin.digest and ', '}{origin.digest}) "
        f"through {', '.join(origin.route)}. "
        f"The weights are in {file.stem}.safetensors, beside this file; it needs torch and safetensors, and not convkit."
    )
    text = textwrap.wrap(_in_docstring(sentences), 88, break_long_words=False, break_on_hyphens=False)
    arguments = ", ".join(_parameters([t.name for t in signature.inputs], Names()))
    usage = ["", f"    import {module}", "", f"    model = {module}.load()", f"    {', '.join(results)} = model({arguments})"]
    return [f'"""{name}: a PyTorch module.', "", *text, *usage, '"""']


def _in_docstring(text: str) -> str:
    """Text that comes from elsewhere, in a docstring: it must neither end nor escape it."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')


def _parameters(wanted: Sequence[str], names: Names) -> list[str]:
    return [names.fresh(name) for name in wanted]


class _Maker:
    """Writes what makes an empty parameter or buffer, and the functions for it."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        tensors = list(tensors)
        parameters = [t.requires_grad for t in tensors if isinstance(t, torch.nn.Parameter)]
        self._has_parameters = bool(parameters)
        self._has_buffers = len(parameters) < len(tensors)
        self._trained = sum(parameters) * 2 > len(parameters)
        self._mixed = len(set(parameters)) > 1
        self._strided = any(strides(t) for t in tensors)

    def __call__(self, tensor: torch.Tensor) -> Expression:
        named: dict[str, Expression] = {}
        is_parameter = isinstance(tensor, torch.nn.Parameter)
        if tensor.dtype is not torch.float32:
            named["dtype"] = literal(tensor.dtype)
        if order := strides(tensor):
            named["stride"] = sequence([literal(s) for s in order], "()")
        if is_parameter and tensor.requires_grad is not self._trained:
            named["requires_grad"] = literal(tensor.requires_grad)
        return call("parameter" if is_parameter else "buffer", [literal(s) for s in tensor.shape], **named)

    def helpers(self) -> list[str]:
        made = "torch.empty(shape, dtype=dtype)"
        extra = ""
        if self._strided:
            extra = ", stride=None"
            made = "torch.empty_strided(shape, stride, dtype=dtype) if stride else torch.empty(shape, dtype=dtype)"
        lines: list[str] = []
        if self._has_parameters:
            trained = f", requires_grad={self._trained}" if self._mixed else ""
            arguments = Group("nn.Parameter(", (("", Text(made)),), ")")
            if self._mixed or not self._trained:
                value = "requires_grad" if self._mixed else "False"
                arguments = Group("nn.Parameter(", (("", Text(made)), ("requires_grad=", Text(value))), ")")
            lines += ["", "", f"def parameter(*shape, dtype=torch.float32{extra}{trained}):", *statement("return ", arguments, 4)]
        if self._has_buffers:
            arguments = Group("nn.Buffer(", (("", Text(made)),), ")")
            lines += ["", "", f"def buffer(*shape, dtype=torch.float32{extra}):", *statement("return ", arguments, 4)]
        return lines


def _init(tree: Tree, weights: Weights, maker: _Maker) -> list[str]:
    lines = ["    def __init__(self) -> None:", "        super().__init__()", *tree.assignments(maker, 8)]
    for name, other in weights.tied.items():
        lines += assignment(*tree.holder(name), Text(tree.access(other)), 8)
    return lines


def _forward(
    program: torch.export.ExportedProgram, weights: Weights, tree: Tree, signature: Signature, literally: bool
) -> list[str]:
    graph, specs = program.graph, program.graph_signature
    placeholders = {n.name: n for n in graph.nodes if n.op == "placeholder"}
    inputs = [placeholders[str(n)] for n in specs.user_inputs if str(n) in placeholders]
    names = Names()
    parameters = _parameters([t.name for t in signature.inputs], names)
    known: dict[torch.fx.Node, Expression] = {n: Text(p) for n, p in zip(inputs, parameters, strict=True)}
    device = f"{parameters[0]}.device" if parameters else ""
    known |= {placeholders[p]: Text(tree.access(n)) for p, n in weights.names.items()}
    known |= {placeholders[p]: _constant(t, device) for p, t in weights.constants.items()}

    results = list(graph.output_node().args[0])
    kinds = [s.kind for s in specs.output_specs]
    given = [r for r, kind in zip(results, kinds, strict=True) if kind is OutputKind.USER_OUTPUT]
    wanted: dict[torch.fx.Node, str] = {}
    for node, spec in zip(given, signature.outputs, strict=True):
        if isinstance(node, torch.fx.Node) and node.op != "placeholder":
            wanted.setdefault(node, spec.name)
    writer = FunctionWriter(program.graph_module, known, names, wanted, device, literally=literally)

    def leave(values: Sequence[Any]) -> list[tuple[str, Expression]]:
        last: list[tuple[str, Expression]] = []
        for value, spec in zip(values, specs.output_specs, strict=True):
            if spec.kind is OutputKind.BUFFER_MUTATION:
                holder = next(weights.names[s.arg.name] for s in specs.input_specs if s.target == spec.target)
                last.append(("", call(f"{tree.access(holder)}.copy_", [writer.code(value)])))
            elif spec.kind is OutputKind.USER_INPUT_MUTATION:
                last.append(("", call(f"{flat(known[placeholders[spec.target]])}.copy_", [writer.code(value)])))
        back = [writer.code(v) for v in given]
        if len(back) == 1:
            return [*last, ("return ", back[0])]
        short = Text(", ".join(map(flat, back)))
        return [*last, ("return ", short if len(short.text) <= 72 else sequence(back, "()"))]

    result = "torch.Tensor" if len(given) == 1 else f"tuple[{', '.join(['torch.Tensor'] * len(given))}]"
    result = result if len(given) <= 3 else "tuple[torch.Tensor, ...]"
    header = Group("def forward(", (("", Text("self")), *((f"{p}: ", Text("torch.Tensor")) for p in parameters)), ")")
    docstring = [f"        # {line}" for line in _specs(signature)]
    return [*statement("", header, 4, f" -> {result}:"), *docstring, *_separated(docstring, writer.body(8, leave))]


def _separated(above: list[str], lines: list[str]) -> list[str]:
    return ["", *lines] if above and lines and lines[0].lstrip().startswith("#") else lines


def _specs(signature: Signature) -> list[str]:
    """What goes in and comes out, one line each."""
    return [
        *(f"{printable(str(t))}" for t in signature.inputs),
        *(f"→ {printable(str(t))}" for t in signature.outputs),
    ]


def _constant(tensor: torch.Tensor, device: str) -> Expression:
    """`torch.tensor(…)`; one without dimensions goes with tensors of any device."""
    named: dict[str, Expression] = {}
    if tensor.dtype not in (torch.float32, torch.int64, torch.bool) or not tensor.numel():
        named["dtype"] = literal(tensor.dtype)
    if tensor.dim() and device:
        named["device"] = Text(device)
    return call("torch.tensor", [_digits(tensor.detach().numpy())], **named)


def _digits(array: np.ndarray) -> Expression:
    if array.ndim:
        return sequence([_digits(item) for item in np.asarray(array)] if array.ndim > 1 else [_digit(v) for v in array])
    return _digit(array[()])


def _digit(value: Any) -> Expression:
    """A number with as few digits as tell it apart from its neighbours in its own dtype."""
    if isinstance(value, np.floating) and np.isfinite(value):
        return literal(float(str(value)))
    return literal(value.item())
