"""Runs the instructions of a method on torch's tensors, so that torch.export records what they compute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from convkit.errors import ConversionError
from convkit.interpreters.executorch import kernels
from convkit.interpreters.executorch.flow import Condition, condition_at, first_reads
from convkit.interpreters.executorch.memory import Memory
from convkit.interpreters.executorch.program import (
    DelegateCall,
    Instruction,
    JumpFalse,
    KernelCall,
    Method,
    Move,
)
from convkit.interpreters.interpreter import NodeError
from convkit.interpreters.operators import UnsupportedError

__all__ = ["DelegateRunner", "InstructionError", "Machine", "access", "operator_name"]

_MOST_STEPS = 100_000
"""Instructions that a method may take with its loops unrolled."""


class InstructionError(NodeError):
    """An instruction that cannot be computed.

    Attributes:
        operator: The kernel, the delegate, or what else it is.
        place: Where it is in the program.
        reason: Why.
    """

    def __init__(self, operator: str, place: str, reason: str) -> None:
        ConversionError.__init__(self, f"{operator} ({place}): {reason}", component="executorch-torch")
        self.operator, self.place, self.reason = operator, place, reason


class DelegateRunner(Protocol):
    """A delegate that can be computed.

    Attributes:
        inputs: Positions among a call's arguments of what it takes.
        outputs: Positions of what it gives.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def run(self, method: Method, arguments: Sequence[int], memory: Memory) -> list[torch.Tensor]:
        """Its outputs, in the order of `outputs`."""


def operator_name(method: Method, instruction: Instruction) -> str:
    """An instruction's operator as reports have it (`aten.add.out`)."""
    if isinstance(instruction, KernelCall):
        return instruction.operator.replace("::", ".")
    if isinstance(instruction, DelegateCall):
        return f"delegate:{method.delegates[instruction.delegate].id}"
    return type(instruction).__name__


def access(
    method: Method, delegates: Mapping[int, DelegateRunner], instruction: Instruction
) -> tuple[Sequence[int], Sequence[int]]:
    """The values that an instruction reads and writes."""
    if isinstance(instruction, KernelCall):
        found = kernels.find(instruction.operator)
        if found is None:
            raise UnsupportedError("no schema tells what it computes")
        return found.reads(instruction.arguments), found.writes(instruction.arguments)
    if isinstance(instruction, DelegateCall):
        runner, arguments = delegates[instruction.delegate], instruction.arguments
        return [arguments[i] for i in runner.inputs], [arguments[i] for i in runner.outputs]
    if isinstance(instruction, Move):
        return [instruction.source], [instruction.target]
    return ([instruction.condition], []) if isinstance(instruction, JumpFalse) else ([], [])


class Machine:
    """One run of a method.

    Args:
        method: The method.
        memory: What its values hold.
        delegates: What computes the delegates, by index.
    """

    def __init__(self, method: Method, memory: Memory, delegates: Mapping[int, DelegateRunner]) -> None:
        self._method, self.memory, self._delegates = method, memory, delegates
        self._steps = 0

    def run(self, start: int, end: int) -> None:
        """Runs the instructions from start to end.

        Raises:
            InstructionError: One of them cannot be computed.
        """
        position = start
        while start <= position < end:
            instruction = self._method.instructions[position]
            try:
                position = self._step(position, instruction)
            except InstructionError:
                raise
            except Exception as error:
                place = f"instruction {position} of {self._method.name}"
                reason = str(error) if isinstance(error, UnsupportedError) else f"{type(error).__name__}: {_one_line(error)}"
                raise InstructionError(operator_name(self._method, instruction), place, reason) from error

    def _step(self, position: int, instruction: Instruction) -> int:
        """Runs one instruction, or a whole condition; returns where to go on."""
        self._steps += 1
        if self._steps > _MOST_STEPS:
            raise UnsupportedError(f"a loop that takes more than {_MOST_STEPS} steps")
        if isinstance(instruction, KernelCall):
            self._call(instruction)
        elif isinstance(instruction, DelegateCall):
            self._delegate(instruction)
        elif isinstance(instruction, Move):
            self.memory.write(instruction.target, self.memory.read(instruction.source))
        elif isinstance(instruction, JumpFalse):
            return self._jump(position, instruction)
        return position + 1

    def _call(self, call: KernelCall) -> None:
        found = kernels.find(call.operator)
        if found is None:
            raise UnsupportedError("no schema tells what it computes")
        reads = found.reads(call.arguments)
        values = [self.memory.read(index) for index in reads]
        if isinstance(found, kernels.Own) and found.after is not None:
            values.insert(0, self.memory.current(call.arguments[found.after]))
        targets = kernels.written(self._method, found, call.arguments)
        results = found.compute(values, [self._method.values[i] for i in targets])
        results = results if isinstance(results, (tuple, list)) else (results,)
        base = reads[0] if call.operator.startswith("executorch_prim::et_view") else None
        for index, result in zip(targets, results, strict=True):
            self.memory.write(index, result, base)

    def _delegate(self, call: DelegateCall) -> None:
        runner = self._delegates[call.delegate]
        results = runner.run(self._method, call.arguments, self.memory)
        for position, result in zip(runner.outputs, results, strict=True):
            self.memory.write(call.arguments[position], result)

    def _jump(self, position: int, jump: JumpFalse) -> int:
        known = self.memory.read(jump.condition)
        if isinstance(known, (bool, int)):
            return position + 1 if known else jump.destination
        if jump.destination <= position:
            raise UnsupportedError("a loop whose rounds only a run tells")
        condition = condition_at(self._method, position)
        if condition is None:
            raise UnsupportedError("a jump on a value that only a run tells, and that is no cond")
        self._condition(known, condition)
        return condition.end

    def _condition(self, predicate: Any, condition: Condition) -> None:
        """torch's `cond`: the branches become functions of what they read."""
        from torch._higher_order_ops.cond import cond_op

        from convkit.interpreters.pytorch.bodies import owned

        held = {index: self.memory.read(index) for steps in condition.branches for index in self._reads(steps)}
        tracked = {i: v for i, v in held.items() if isinstance(v, (torch.Tensor, torch.SymInt))}

        def branch(steps: range) -> Any:
            def call(*operands: Any) -> tuple[torch.Tensor, ...]:
                inner = self.memory.inner({**held, **dict(zip(tracked, operands, strict=True))})
                machine = Machine(self._method, inner, self._delegates)
                machine.run(steps.start, steps.stop)
                return tuple(owned([inner.read(i) for i in condition.results], operands))

            return call

        predicate = predicate.reshape(()) if isinstance(predicate, torch.Tensor) else predicate
        results = cond_op(predicate, *map(branch, condition.branches), tuple(tracked.values()))
        for index, result in zip(condition.results, results, strict=True):
            self.memory.write(index, result)

    def _reads(self, steps: range) -> list[int]:
        """The values that a branch takes from around it."""
        instructions = [self._method.instructions[p] for p in steps]
        return first_reads(self._method, instructions, lambda i: access(self._method, self._delegates, i))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
