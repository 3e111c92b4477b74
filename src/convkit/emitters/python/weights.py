"""A program's tensors: under which names, which of them are one, and the file that holds them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.export.graph_signature import InputKind, InputSpec

from convkit.emitters.python.functions import changes
from convkit.errors import ConversionError
from convkit.legalization.exported_program import NODE_KEY

__all__ = ["Weights", "save", "strides", "weights_of"]

_FEW = 8
"""Elements up to which a constant of the program's code is written out, and not kept with the weights."""

_PLAIN = frozenset(
    (
        *(torch.float16, torch.float32, torch.float64, torch.bool),
        *(torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8),
    )
)
"""dtypes whose values have digits in Python and in numpy."""


@dataclass(frozen=True)
class Weights:
    """A program's tensors.

    Attributes:
        tensors: Parameters (those that may be trained, and those that the program calls so) and buffers by dotted name.
        tied: Further names, and the name in `tensors` that each stands for.
        names: The dotted name for each placeholder of the graph.
        constants: Small tensors of the program's code, by placeholder: they are written out.
    """

    tensors: Mapping[str, torch.Tensor]
    tied: Mapping[str, str]
    names: Mapping[str, str]
    constants: Mapping[str, torch.Tensor]


def weights_of(program: torch.export.ExportedProgram) -> Weights:
    """The tensors of a program, without convkit's wrapper around its root module in their names."""
    kinds = (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR)
    specs = [s for s in program.graph_signature.input_specs if s.kind in kinds]
    named = [str(s.target) for s in specs if s.kind is not InputKind.CONSTANT_TENSOR]
    prefix = "model." if all(name.startswith("model.") for name in named) else ""
    used = {n.name for n in program.graph.nodes if n.op == "placeholder" and n.users}
    imported = any(NODE_KEY in (n.meta.get("custom") or {}) for n in program.graph.nodes)
    changed = any(map(changes, program.graph.nodes))
    copied = {n.name for n in program.graph.nodes if {str(user.target) for user in n.users} == {"aten.lift_fresh_copy.default"}}
    tensors: dict[str, torch.Tensor] = {}
    tied: dict[str, str] = {}
    names: dict[str, str] = {}
    constants: dict[str, torch.Tensor] = {}
    same: dict[tuple[Any, ...], str] = {}
    for spec in specs:
        tensor = _tensor(program, spec)
        if imported and spec.arg.name not in used:
            continue  # an axis, a shape: the importer has read it
        # In ONNX every number is an initializer.
        number = imported and not changed and tensor.dim() == 0
        constant = spec.kind is InputKind.CONSTANT_TENSOR and spec.arg.name in copied and tensor.numel() <= _FEW
        if (number or constant) and tensor.layout is torch.strided and tensor.dtype in _PLAIN:
            constants[spec.arg.name] = tensor
            continue
        name = str(spec.target).removeprefix(prefix)
        while name in names.values():
            name += "_"
        names[spec.arg.name] = name
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride())
        if tensor.numel() and place in same:
            tied[name] = same[place]
        else:
            same[place] = name
            tensors[name] = tensor
    return Weights(tensors, tied, names, constants)


def _tensor(program: torch.export.ExportedProgram, spec: InputSpec) -> torch.Tensor:
    target = str(spec.target)
    tensor = program.state_dict[target] if target in program.state_dict else program.constants[target]
    # What was a parameter is called a buffer where a program came through TorchScript.
    if spec.kind is InputKind.PARAMETER or tensor.requires_grad:
        return torch.nn.Parameter(tensor.detach(), requires_grad=tensor.requires_grad)
    return tensor


def strides(tensor: torch.Tensor) -> tuple[int, ...] | None:
    """The strides of a tensor whose order in memory is not that of its dimensions."""
    in_memory = sorted(range(tensor.dim()), key=lambda axis: -tensor.stride(axis))
    if tensor.is_contiguous() or not tensor.permute(in_memory).is_contiguous():
        return None
    return tuple(tensor.stride())


def save(weights: Weights, path: Path) -> None:
    """Writes the tensors as safetensors.

    Raises:
        ConversionError: The format has no such dtype.
    """
    from safetensors.torch import save_file

    seen: set[int] = set()
    tensors = {}
    for name, tensor in weights.tensors.items():
        tensor = tensor.detach()
        place = tensor.untyped_storage().data_ptr()
        # The format takes whole tensors only, each in memory of its own.
        if place in seen:
            tensor = tensor.clone(memory_format=torch.contiguous_format)
        seen.add(place)
        tensors[name] = tensor.contiguous()
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except Exception as error:
        raise ConversionError(
            f"safetensors cannot hold the weights: {type(error).__name__}: {error}", stage="emit", component="python"
        ) from error
