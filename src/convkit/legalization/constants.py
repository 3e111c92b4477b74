"""Tables that a program computes from nothing but numbers become constants of it. Worker side."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from convkit.legalization.exported_program import calls

if TYPE_CHECKING:
    import torch

__all__ = ["fold_tables"]


def fold_tables(program: torch.export.ExportedProgram) -> int:
    """Computes what hangs on no input, weight or dynamic size, in place: runtimes would do it anew in every run.

    Returns:
        How many constants the program has got.
    """
    import torch
    from torch.export.graph_signature import InputKind, InputSpec, TensorArgument

    known: dict[torch.fx.Node, torch.Tensor] = {}
    for node in calls(program):
        value, operator = node.meta.get("val"), node.target
        is_plain = isinstance(operator, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded not in operator.tags
        if is_plain and isinstance(value, torch.Tensor) and set(node.all_input_nodes) <= set(known):
            arguments = torch.fx.node.map_arg((node.args, node.kwargs), lambda other: known[other])
            known[node] = operator(*arguments[0], **arguments[1])
    folded = [node for node in known if any(user not in known for user in node.users)]
    signature = program.graph_signature
    placeholders = [node for node in program.graph.nodes if node.op == "placeholder"]
    kinds = [spec.kind for spec in signature.input_specs]
    place = kinds.index(InputKind.USER_INPUT) if InputKind.USER_INPUT in kinds else len(kinds)
    following = placeholders[place] if place < len(placeholders) else next(iter(calls(program)))
    specs = []
    for node in folded:
        with program.graph.inserting_before(following):
            constant = program.graph.placeholder(f"c_table_{node.name}")
        mode = node.meta["val"].fake_mode
        constant.meta = {**node.meta, "val": mode.from_tensor(known[node], static_shapes=True)}
        program._constants[constant.name] = known[node]
        specs.append(InputSpec(InputKind.CONSTANT_TENSOR, TensorArgument(name=constant.name), target=constant.name))
        node.replace_all_uses_with(constant)
    program._graph_signature = replace(
        signature, input_specs=[*signature.input_specs[:place], *specs, *signature.input_specs[place:]]
    )
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return len(folded)
