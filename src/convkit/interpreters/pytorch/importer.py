"""An ONNX model as an `nn.Module` whose `forward` interprets the graph; `torch.export` traces it.

Weights are parameters (floats) and buffers (everything else) under the initializers' own names, dots included, so that
`layer1.0.conv.weight` is found again in the exported program.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import onnx_ir as ir
import torch

from convkit.interpreters.interpreter import Interpreter
from convkit.interpreters.pytorch.backend import TorchBackend, torch_dtype

__all__ = ["OnnxModule"]


class OnnxModule(torch.nn.Module):  # type: ignore[misc]
    """Computes an ONNX graph.

    Args:
        model: A prepared model (see `convkit.legalization.onnx.preparation`), in an opset between 7 and the newest.
    """

    def __init__(self, model: ir.Model) -> None:
        super().__init__()
        self._graph = model.graph
        names = _attribute_names(model.graph.initializers)
        constants = {value: _register(self, names[name], value) for name, value in model.graph.initializers.items()}
        constants = {value: tensor for value, tensor in constants.items() if tensor is not None}
        self._names = {value: names[str(value.name)] for value in constants}
        self._opsets = dict(model.opset_imports)

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


def _register(root: torch.nn.Module, name: str, value: ir.Value) -> torch.Tensor | None:
    """Makes an initializer a parameter or buffer at a dotted name; None for what is not a tensor in torch."""
    assert value.const_value is not None
    if value.const_value.dtype is ir.DataType.STRING:
        return None
    array = value.const_value.numpy()
    if value.const_value.dtype is ir.DataType.BFLOAT16:
        tensor = torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    else:
        # Files are mapped read-only, and a parameter must not be.
        tensor = torch.from_numpy(np.array(array, order="C", ndmin=array.ndim)).to(torch_dtype(value.const_value.dtype))
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
    return tensor


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
    first = path.partition(".")[0]
    return path in leaves or path in modules or bool(above & leaves) or hasattr(torch.nn.Module, first) or first in _OWN


_OWN = frozenset(("training", "forward", "_graph", "_names", "_opsets", "T_destination", "call_super_init", "dump_patches"))


def _identifier(part: str) -> str:
    text = re.sub(r"\W", "_", part)
    return text or "_"
