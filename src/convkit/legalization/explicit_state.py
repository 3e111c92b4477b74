"""Programs that keep values for the next run, turned into programs that take and give them. Worker side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from convkit.legalization.exported_program import copied

if TYPE_CHECKING:
    import torch

__all__ = ["with_explicit_state"]


def with_explicit_state(program: torch.export.ExportedProgram) -> tuple[torch.export.ExportedProgram, list[torch.Tensor]]:
    """The program with its state as first inputs and first outputs, in the same order, and the values that it starts with.

    Args:
        program: A decomposed program: nothing in it changes in place, new values of buffers are outputs of their own. It stays
            what it is; the weights are shared.
    """
    from torch.export.graph_signature import InputKind, OutputKind, TensorArgument

    changed = copied(program)
    signature = changed.graph_signature
    states = [spec.target for spec in signature.output_specs if spec.kind is OutputKind.BUFFER_MUTATION]
    inputs = {spec.target: spec for spec in signature.input_specs if spec.kind is InputKind.BUFFER}
    changed._graph_signature = replace(
        signature,
        input_specs=[
            *(replace(inputs[state], kind=InputKind.USER_INPUT, target=None, persistent=None) for state in states),
            *(spec for spec in signature.input_specs if spec.kind is not InputKind.BUFFER or spec.target not in states),
        ],
        output_specs=[
            replace(spec, kind=OutputKind.USER_OUTPUT, target=None) if spec.kind is OutputKind.BUFFER_MUTATION else spec
            for spec in signature.output_specs
        ],
    )
    stores = {**program.constants, **program.state_dict}
    assert all(isinstance(inputs[state].arg, TensorArgument) for state in states)
    return changed, [stores[state] for state in states if state is not None]
