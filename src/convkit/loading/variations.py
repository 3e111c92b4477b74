"""The same PyTorch model with other roundings: weights moved by a last bit, or all of it in float64. Worker side.

A program says its dtypes in many places (`arange(dtype=float32)`, casts, checks of metadata), so that weights and inputs of
float64 alone do not make it compute in float64: every call is seen on its way to the kernels
(`torch.utils._python_dispatch.TorchDispatchMode`), and what it says of floating dtypes is widened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convkit.errors import ConversionError

if TYPE_CHECKING:
    import torch

__all__ = ["in_float64", "moved_weights", "with_state"]

_LARGEST = 256 << 20
"""Bytes of weights."""
_MASKING = 1e30
"""From this magnitude on a constant is no weight but masks: moved, the largest number would be infinite, and infinity none."""
_SIGNS = 65537
"""A prime, so that no axis of a tensor has the period of the pattern."""

Compute = Callable[[Any, Sequence[Any]], Any]
"""Runs a module on its flat inputs."""


def moved_weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A module's parameters and buffers, its weights (floating, of two and more dimensions) moved by half a last bit, up or down.

    Vectors stay as they are: sizes, scales of a resize and thresholds are among them, which choose what is computed.

    Raises:
        ConversionError: They are too large to be held twice.
    """
    import torch

    if sum(tensor.nbytes for _, tensor in _state(module)) > _LARGEST:
        raise ConversionError("the weights are too large to be held twice", stage="validate")
    # Drawn once and repeated: to draw a sign for every weight would take longer than to run the model.
    signs = torch.randint(0, 2, (_SIGNS,), generator=torch.Generator().manual_seed(1)) * 2.0 - 1.0

    def moved(tensor: torch.Tensor) -> torch.Tensor:
        if not tensor.is_floating_point() or tensor.ndim < 2 or tensor.is_sparse:
            return tensor
        steps = signs.to(tensor.dtype).repeat(-(-tensor.numel() // _SIGNS))[: tensor.numel()].view(tensor.shape)
        steps.mul_(torch.finfo(tensor.dtype).eps / 2).mul_(tensor).add_(tensor)
        return torch.where(tensor.abs() < _MASKING, steps, tensor)

    with torch.no_grad():
        return {name: moved(tensor) for name, tensor in _state(module)}


def with_state(module: torch.nn.Module, state: Mapping[str, torch.Tensor], compute: Compute, inputs: Sequence[Any]) -> Any:
    """What `compute(module, inputs)` gives with these parameters and buffers; the module keeps its own."""
    import torch

    class Computing(torch.nn.Module):  # type: ignore[misc] # torch has no types
        """`functional_call` calls a module's forward, and models are called in more ways than that."""

        def __init__(self) -> None:
            super().__init__()
            self.model = module

        def forward(self, *given: Any) -> Any:
            return compute(self.model, given)

    named = {f"model.{name}": tensor for name, tensor in state.items()}
    return torch.func.functional_call(Computing(), named, tuple(inputs))


def in_float64(module: torch.nn.Module, compute: Compute, inputs: Sequence[Any]) -> Any:
    """What `compute(module, inputs)` gives in float64 throughout; the module keeps its own parameters and buffers.

    For modules that change nothing of theirs while they run.
    """
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_map

    class Widened(TorchDispatchMode):  # type: ignore[misc] # torch has no types
        """Has every kernel compute in float64."""

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            args, kwargs = tree_map(_wide, (args, kwargs or {}))
            # What makes tensors without being told a dtype makes them in torch's default one.
            return tree_map(_wide, function(*args, **kwargs))

    state = {name: _wide(tensor) for name, tensor in _state(module)}
    with Widened():
        return with_state(module, state, compute, [_wide(tensor) for tensor in inputs])


def _state(module: torch.nn.Module) -> list[tuple[str, torch.Tensor]]:
    return [*module.named_parameters(), *module.named_buffers()]


def _wide(value: Any) -> Any:
    """A floating tensor, or a floating dtype, of less than 64 bits as float64; anything else as it is."""
    import torch

    narrow = (torch.float32, torch.float16, torch.bfloat16)
    if isinstance(value, torch.Tensor):
        return value.double() if value.dtype in narrow else value
    return torch.float64 if isinstance(value, torch.dtype) and value in narrow else value
