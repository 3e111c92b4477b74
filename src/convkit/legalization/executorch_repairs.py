"""Repairs of programs that ExecuTorch's compiler or runtime would stumble over. Worker side.

Every repair works on a copy of the program and answers a defect of executorch 1.4.1 that is named where it is repaired.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convkit.legalization import executorch as target
from convkit.legalization import exported_program as programs

if TYPE_CHECKING:
    import torch

__all__ = ["repaired"]


def repaired(program: torch.export.ExportedProgram) -> tuple[torch.export.ExportedProgram, tuple[str, ...]]:
    """A copy of the program that the compiler does not stumble over, and what was changed, one sentence each."""
    from convkit.legalization.torch.centred_norms import centre_norms
    from convkit.legalization.torch.staged_reductions import stage_reductions

    ready = target.legalized(program)[0]
    changed = programs.copied(ready.run_decompositions({}) if _changes_inputs(ready) else ready)
    notes = (_legal_names(changed), _explicit_strides(changed), _contiguous_inputs(changed), _unchanged_values(changed))
    _blocking_copies(changed)
    _filled(changed)
    _positive_axes(changed)
    centre_norms(changed)  # the kernels' variances are differences of squares
    stage_reductions(changed)  # its kernels add value to value
    return changed, tuple(n for n in notes if n)


def _changes_inputs(program: torch.export.ExportedProgram) -> bool:
    """Whether an operator may change an input in place; a functional program says so in its signature."""
    inputs = set(program.graph_signature.user_inputs)
    changing = (node for node in programs.calls(program) if programs.is_in_place(node) and node.all_input_nodes)
    return any(_origin(node.all_input_nodes[0]).name in inputs for node in changing)


def _origin(node: torch.fx.Node) -> torch.fx.Node:
    """What a chain of operators of one tensor starts from: views share its memory."""
    while node.op == "call_function" and node.all_input_nodes:
        node = node.all_input_nodes[0]
    return node


def _legal_names(program: Any) -> str:
    """Weights called `0.weight` (a root nn.Sequential) break XNNPACK's batch norm fusion: pytorch/executorch#21541."""
    from dataclasses import replace

    def renamed(name: str | None) -> str | None:
        return f"model.{name}" if name is not None and name[:1].isdigit() else name

    old = [*program._state_dict, *program._constants]
    if not any(name[:1].isdigit() for name in old):
        return ""
    signature = program._graph_signature
    program._graph_signature = replace(
        signature,
        input_specs=[replace(s, target=renamed(s.target)) for s in signature.input_specs],
        output_specs=[replace(s, target=renamed(s.target)) for s in signature.output_specs],
    )
    program._state_dict = {renamed(k): v for k, v in program._state_dict.items()}
    program._constants = {renamed(k): v for k, v in program._constants.items()}
    return "weights whose names start with a digit got the prefix 'model.' (pytorch/executorch#21541)"


def _explicit_strides(program: Any) -> str:
    """`max_pool2d` without stride is an IndexError in XNNPACK's partitioner: pytorch/executorch#21488."""
    import torch

    aten = torch.ops.aten
    targets = {aten.max_pool2d.default, aten.max_pool2d_with_indices.default}
    count = 0
    for node in programs.calls(program):
        if node.target in targets and (len(node.args) < 3 or not node.args[2]):
            node.args = (*node.args[:2], list(node.args[1]), *node.args[3:])
            count += 1
    return f"{count} max_pool2d got their default stride written out (pytorch/executorch#21488)" if count else ""


def _blocking_copies(program: Any) -> None:
    """`to(device, non_blocking=True)` is an error at run time (0x12); on one processor all copies are done at once anyhow."""
    import torch

    for node in programs.calls(program):
        if isinstance(node.target, torch._ops.OpOverload):
            names = [argument.name for argument in node.target._schema.arguments]
            if "non_blocking" in names:
                place = names.index("non_blocking")
                node.args = tuple(False if n == place else value for n, value in enumerate(node.args))
                node.kwargs = {name: value for name, value in node.kwargs.items() if name != "non_blocking"}


def _positive_axes(program: Any) -> None:
    """`narrow_copy` along an axis that is counted from the end ends the process (a check in the portable kernel)."""
    import torch

    for node in programs.calls(program):
        if node.target is torch.ops.aten.narrow_copy.default:
            value, axis, *rest = node.args
            node.args = (value, int(axis) % value.meta["val"].dim(), *rest)


def _filled(program: Any) -> None:
    """Tensors that are made empty are made of zeros: `_empty_dim_order` takes numbers only, and so fixes dynamic dimensions."""
    import torch

    aten = torch.ops.aten
    place_of_sizes = {aten.new_empty.default: 1, aten.empty.memory_format: 0}
    for node in programs.calls(program):
        if node.target in place_of_sizes:
            node.args = (node.args[place_of_sizes[node.target]], 0)
            node.kwargs = {"dtype": node.meta["val"].dtype}
            node.target = aten.full.default


def _unchanged_values(program: Any) -> str:
    """Leaves out the new values of inputs and weights that a model changes in place: the compiler would make outputs of them."""
    from dataclasses import replace

    from torch.export.graph_signature import OutputKind

    signature = program._graph_signature
    constant = (OutputKind.USER_INPUT_MUTATION, OutputKind.PARAMETER_MUTATION)
    updates = [spec.kind in constant for spec in signature.output_specs]
    if not any(updates):
        return ""
    output = program.graph.output_node()
    output.args = (tuple(value for value, is_update in zip(output.args[0], updates, strict=True) if not is_update),)
    specs = [spec for spec, is_update in zip(signature.output_specs, updates, strict=True) if not is_update]
    program._graph_signature = replace(signature, output_specs=specs)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()
    return f"{sum(updates)} inputs or weights that the model changes in place stay what they are"


def _contiguous_inputs(program: Any) -> str:
    """Inputs become contiguous, as the runtime's caller gives them.

    A program remembers the strides of its example: 0 after `expand`, which the compiler refuses ("0 in strides is not
    supported"), or channels last, which makes the runtime refuse contiguous inputs (error 0x12).
    """
    import torch
    from torch.fx.experimental.symbolic_shapes import statically_known_true

    users = set(program.graph_signature.user_inputs)
    names = []
    for node in program.graph.nodes:
        value = node.meta.get("val")
        if node.op != "placeholder" or node.name not in users or not isinstance(value, torch.Tensor):
            continue
        with value.fake_mode:
            plain = torch.empty(value.shape, dtype=value.dtype, device=value.device)
        if not all(statically_known_true(a == b) for a, b in zip(value.stride(), plain.stride(), strict=True)):
            node.meta["val"] = plain
            names.append(node.name)
    return f"{', '.join(names)}: taken as contiguous, the program's example was not" if names else ""
