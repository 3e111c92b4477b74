"""Scans of ExecuTorch programs whose state or rows have a dynamic size. Worker side.

The compiler's emitter copies a scan's state by `copy_`, and stacks its rows by `et_copy_index`: neither changes the size that
memory was planned for, which is the largest (executorch 1.4.1).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["resized_scans"]


@contextmanager
def resized_scans() -> Iterator[None]:
    """Within it, what a scan carries and stacks gets the size that it has when the model runs."""
    from executorch.exir.emit._emitter import _Emitter

    original = _Emitter._emit_scan

    def emit_scan(self: Any, *args: Any) -> Any:
        first = len(self.chain.instructions)
        results = original(self, *args)
        held = {value.id for value in results}
        _resize_state(self, first, held)
        _size_rows(self, first, held)
        return results

    _Emitter._emit_scan = emit_scan
    try:
        yield
    finally:
        _Emitter._emit_scan = original


def _calls(emitter: Any, first: int, name: str, overload: str = "") -> list[tuple[int, Any]]:
    """Where a kernel is called from an instruction on, and the calls."""
    from executorch.exir.schema import KernelCall

    index, _ = emitter._get_operator(name=name, overload=overload) if overload else emitter._get_operator(name=name)
    numbered = enumerate(emitter.chain.instructions[first:], first)
    calls = [(position, instruction.instr_args) for position, instruction in numbered]
    return [(position, call) for position, call in calls if isinstance(call, KernelCall) and call.op_index == index]


def _resize_state(emitter: Any, first: int, held: set[int]) -> None:
    """Copies of the state that give it the size of what is copied."""
    resizing, _ = emitter._get_operator(name="aten::copy", overload="out")
    for _, call in _calls(emitter, first, "aten::copy_"):
        state, source, blocking, _ = call.args
        if state in held:
            call.op_index, call.args = resizing, [source, source, blocking, state, state]


def _size_rows(emitter: Any, first: int, held: set[int]) -> None:
    """In the first round every stack becomes one row, of the row's size; `et_copy_index` makes it longer."""
    from executorch.exir.schema import Bool, EValue, Instruction, Int, IntList, JumpFalseCall, KernelCall

    def number(value: int) -> int:
        return int(emitter._emit_evalue(EValue(Int(value))).id)

    written = [(position, call) for position, call in _calls(emitter, first, "executorch_prim::et_copy_index", "tensor")]
    written = [(position, call) for position, call in written if call.args[0] in held]
    if not written:
        return
    place, counter = written[0][0], written[0][1].args[2]
    equal, _ = emitter._get_operator(name="executorch_prim::eq", overload="Scalar")
    expand, _ = emitter._get_operator(name="aten::expand_copy", overload="out")
    is_first, implicit = (int(emitter._emit_evalue(EValue(Bool(False))).id) for _ in range(2))
    sized = []
    for _, call in written:
        stack, row, _ = call.args
        rank = len(emitter.emitter_state.values[stack].val.sizes)
        sizes = emitter._emit_evalue(EValue(IntList([number(1), *(number(-1) for _ in range(rank - 1))]))).id
        sized.append(Instruction(KernelCall(op_index=expand, args=[row, sizes, implicit, stack, stack])))
    behind = emitter.instruction_start_offset + place + 2 + len(sized)
    emitter.chain.instructions[place:place] = [
        Instruction(KernelCall(op_index=equal, args=[counter, number(0), is_first])),
        Instruction(JumpFalseCall(cond_value_index=is_first, destination_instruction=behind)),
        *sized,
    ]
