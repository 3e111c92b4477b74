"""An ONNX model as an `nn.Module` whose `forward` interprets the graph; `torch.export` traces it.

Weights are parameters (floats) and buffers (everything else) under the initializers' own names, dots included, so that
`layer1.0.conv.weight` is found again in the exported program.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterable

import onnx_ir as ir
import torch

from convkit.interpreters.interpreter import Interpreter
from convkit.interpreters.operators import normal_domain
from convkit.interpreters.pytorch.backend import TorchBackend, as_tensor
from convkit.interpreters.pytorch.table import operators

__all__ = ["OnnxModule"]


class OnnxModule(torch.nn.Module):  # type: ignore[misc]
    """Computes an ONNX graph.

    Args:
        model: A prepared model (see `convkit.legalization.onnx.preparation`), in an opset between 7 and the newest.
    """

    def __init__(self, model: ir.Model) -> None:
        super().__init__()
        self._graph = model.graph
        self._opsets = dict(model.opset_imports)
        held = [value for value in _used_as_tensors(model) if value.const_value is not None and _is_held(value.const_value)]
        names = _attribute_names(str(value.name) for value in held)
        self._names = {value: names[str(value.name)] for value in held}
        for value, name in self._names.items():
            _register(self, name, value)

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One tensor per graph input, in order; returns one per graph output."""
        constants = {value: _at(self, name) for value, name in self._names.items()}
        interpreter = Interpreter(self._opsets, TorchBackend(constants))
        results = interpreter.run(self._graph, inputs)
        tensors = []
        for output, result in zip(self._graph.outputs, results, strict=True):
            tensor = interpreter.tensor(result)
            tensors.append(tensor if output.dtype is None else interpreter.backend.cast(tensor, output.dtype))
        return tuple(tensors)


def _used_as_tensors(model: ir.Model) -> list[ir.Value]:
    """The initializers that take part in the computation; shapes, axes and the like are known while tracing instead."""
    found: dict[ir.Value, None] = {}
    for node in ir.traversal.RecursiveGraphIterator(model.graph):
        handler = operators().find(node.domain, node.op_type, model.opset_imports.get(normal_domain(node.domain), 1))
        for position, value in enumerate(node.inputs):
            if value is not None and (handler is None or handler.kind(position) not in ("Sizes", "Known")):
                found[value] = None
    found.update(dict.fromkeys(v for graph in model.graphs() for v in graph.outputs))
    return [value for value in found if value.is_initializer()]


def _is_held(tensor: ir.TensorProtocol) -> bool:
    """Whether a constant becomes part of the module: torch has no strings, and cannot save what is empty."""
    return tensor.dtype is not ir.DataType.STRING and tensor.size > 0


def _register(root: torch.nn.Module, name: str, value: ir.Value) -> None:
    """Makes an initializer a parameter or buffer at a dotted name."""
    assert value.const_value is not None
    tensor = as_tensor(value.const_value.numpy())
    *path, leaf = name.split(".")
    holder = root
    for part in path:
        if part not in holder._modules:
            holder.add_module(part, torch.nn.Module())
        holder = holder.get_submodule(part)
    if tensor.is_floating_point():
        holder.register_parameter(leaf, torch.nn.Parameter(tensor, requires_grad=False))
    else:
        holder.register_buffer(leaf, tensor)


def _at(root: torch.nn.Module, name: str) -> torch.Tensor:
    path, _, leaf = name.rpartition(".")
    tensor = getattr(root.get_submodule(path), leaf)
    assert isinstance(tensor, torch.Tensor)
    return tensor


def _attribute_names(names: Iterable[str]) -> dict[str, str]:
    """Initializers' names as dotted attribute paths that are distinct and of which none is the prefix of another."""
    found: dict[str, str] = {}
    leaves: set[str] = set()
    modules: set[str] = set()
    for name in names:
        parts = [_identifier(part) for part in re.split(r"[./]", name) if part] or ["constant"]
        path = ".".join(parts)
        number = 1
        while _clashes(path, leaves, modules):
            number += 1
            path = ".".join([*parts[:-1], f"{parts[-1]}_{number}"])
            if number > 3:
                path = "_".join([*parts, str(number)])
        found[name] = path
        leaves.add(path)
        modules.update(path.rsplit(".", depth)[0] for depth in range(1, path.count(".") + 1))
    return found


def _clashes(path: str, leaves: set[str], modules: set[str]) -> bool:
    above = {path.rsplit(".", depth)[0] for depth in range(1, path.count(".") + 1)}
    taken = any(part in _OWN or hasattr(torch.nn.Module, part) for part in path.split("."))
    return path in leaves or path in modules or bool(above & leaves) or taken


_OWN = frozenset(("training", "forward", "_graph", "_names", "_opsets", "T_destination", "call_super_init", "dump_patches"))


def _identifier(part: str) -> str:
    text = re.sub(r"\W", "_", part)
    return f"{text}_" if keyword.iskeyword(text) else text or "_"
