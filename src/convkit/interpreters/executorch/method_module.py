"""A method of an ExecuTorch program as an `nn.Module` whose `forward` runs its instructions; `torch.export` traces it.

Constants are parameters (floats) and buffers; memory that a method reads before it writes it is a buffer that it mutates.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import torch

from convkit.interpreters.executorch import flow
from convkit.interpreters.executorch.machine import DelegateRunner, Machine, access
from convkit.interpreters.executorch.memory import Memory
from convkit.interpreters.executorch.program import Method, Program, TensorValue
from convkit.interpreters.executorch.tensors import decoded, dtype_of

__all__ = ["MethodModule", "register"]

Location = tuple[int, int]


class MethodModule(torch.nn.Module):  # type: ignore[misc]
    """Computes a method.

    Args:
        program: The file, for its constants.
        method: The method.
        delegates: What computes its delegates, by index; those that are modules become submodules.

    Raises:
        DamagedFileError: A constant lies outside of the file.
    """

    def __init__(self, program: Program, method: Method, delegates: Mapping[int, DelegateRunner]) -> None:
        super().__init__()
        self._method, self._delegates = method, dict(delegates)
        for index, delegate in delegates.items():
            if isinstance(delegate, torch.nn.Module):
                self.add_module(f"delegate_{index}", delegate)
        reads = self._first_reads()
        self._constants = _register_constants(self, program, method, reads)
        self._state: dict[Location, TensorValue] = {}
        for value in (method.values[index] for index in reads):
            if isinstance(value, TensorValue) and value.location is not None:
                self._state.setdefault(value.location, value)
        for number, tensor in enumerate(self._state.values()):
            register(self, f"state_{number}", _initial(program, tensor), trained=False)

    @property
    def uninitialised(self) -> int:
        """How many pieces of state the file has no initial content for."""
        return sum(tensor.buffer == 0 for tensor in self._state.values())

    def _first_reads(self) -> list[int]:
        method = self._method
        inputs = [i for i in method.inputs if isinstance(method.values[i], TensorValue)]
        found = flow.first_reads(method, method.instructions, partial(access, method, self._delegates), inputs)
        computed = {
            w for i in method.instructions for index in access(method, self._delegates, i)[1] for w in flow.targets(method, index)
        }
        outputs = [i for o in method.outputs for i in flow.targets(method, o)]
        return list(dict.fromkeys([*found, *(i for i in outputs if i not in computed and i not in inputs)]))

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One tensor per input, in order; numbers come as tensors too and are what the program has. One tensor per output."""
        method = self._method
        # A copy, because what is read must not change when the state is written at last.
        state = {location: getattr(self, f"state_{n}").clone() for n, location in enumerate(self._state)}
        memory = Memory(method, lambda index: getattr(self, self._constants[index]), state)
        for index, given in zip(method.inputs, inputs, strict=True):
            if isinstance(method.values[index], TensorValue):
                memory.write(index, given)
        Machine(method, memory, self._delegates).run(0, len(method.instructions))
        results = [memory.read(i) for o in method.outputs for i in flow.targets(method, o) if method.values[i] is not None]
        for number, (location, tensor) in enumerate(self._state.items()):
            if (final := memory.final(location, tensor)) is not None:
                getattr(self, f"state_{number}").copy_(final)
        return tuple(r if isinstance(r, torch.Tensor) else torch.as_tensor(r) for r in results)


def register(module: torch.nn.Module, name: str, tensor: torch.Tensor, *, trained: bool = True) -> None:
    """A parameter where it is a float tensor that training would change, else a buffer."""
    if trained and tensor.is_floating_point():
        module.register_parameter(name, torch.nn.Parameter(tensor, requires_grad=False))
    else:
        module.register_buffer(name, tensor)


def _initial(program: Program, tensor: TensorValue) -> torch.Tensor:
    if tensor.buffer == 0:
        return torch.zeros(tensor.sizes, dtype=dtype_of(tensor))
    return decoded(program.constant(tensor), tensor)


def _register_constants(module: torch.nn.Module, program: Program, method: Method, reads: list[int]) -> dict[int, str]:
    """The attribute that holds each constant; equal views of one piece of data are one attribute."""
    names: dict[TensorValue, str] = {}
    found = {}
    for index in reads:
        value = method.values[index]
        if not isinstance(value, TensorValue) or not value.is_constant:
            continue
        if value not in names:
            names[value] = _attribute(value.name, len(names), module)
            register(module, names[value], decoded(program.constant(value), value))
        found[index] = names[value]
    return found


def _attribute(name: str, number: int, module: torch.nn.Module) -> str:
    cleaned = re.sub(r"\W", "_", name)
    usable = cleaned.isidentifier() and not hasattr(module, cleaned)
    return cleaned if usable else f"constant_{number}"
