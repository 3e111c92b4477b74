"""Programs that compute in bfloat16, computed in float32: ONNX Runtime and LiteRT have kernels of bfloat16 for hardly anything.

Every bfloat16 is a float32, so the numbers are those of the source with fewer roundings. What a caller gives and gets stays
bfloat16 where the target can say so. Worker side.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from convkit.legalization.exported_program import calls, convert_weights, copied
from convkit.legalization.kept import kept

if TYPE_CHECKING:
    import torch

__all__ = ["in_float32"]


@kept
def in_float32(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with float32 in bfloat16's place, kept as long as the program is; itself where it has none.

    Bits that are looked at as another dtype (`view(dtype)`) leave a program as it is.
    """
    if not any(map(_is_narrow, _values(program))) and not any(map(_is_autocast, calls(program))):
        return program
    return _widened(program) or program


def _values(program: torch.export.ExportedProgram) -> list[Any]:
    import torch

    nodes = (n for m in program.graph_module.modules() if isinstance(m, torch.fx.GraphModule) for n in m.graph.nodes)
    return [value for node in nodes for value in torch.utils._pytree.tree_leaves(node.meta.get("val"))]


def _is_narrow(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.dtype is torch.bfloat16


def _is_autocast(node: torch.fx.Node) -> bool:
    return "wrap_with_autocast" in str(node.target)


def _widened(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram | None:
    import torch

    # Blocks of autocast become operators that cast.
    changed = copied(program.run_decompositions({}))
    if any(str(node.target) == "aten.view.dtype" for node in calls(changed)):
        return None
    convert_weights(changed, _is_narrow, lambda tensor: tensor.to(torch.float32))
    users = set(changed.graph_signature.user_inputs)
    for node in changed.graph.nodes:
        if node.op == "placeholder" and node.name in users and _is_narrow(node.meta.get("val")):
            _cast_after(changed.graph, node)
    for node in calls(changed):
        node.args, node.kwargs = torch.utils._pytree.tree_map(_wider_dtype, (node.args, node.kwargs))
    _cast_outputs(changed)
    changed.graph_module.recompile()
    return changed.run_decompositions({})  # which finds the new dtypes of all that lies between


def _wider_dtype(argument: Any) -> Any:
    import torch

    return torch.float32 if argument is torch.bfloat16 else argument


def _cast(graph: torch.fx.Graph, node: torch.fx.Node, dtype: torch.dtype) -> torch.fx.Node:
    import torch

    cast = graph.call_function(torch.ops.aten._to_copy.default, (node,), {"dtype": dtype})
    value = node.meta["val"]
    with value.fake_mode:
        cast.meta = {**node.meta, "val": value.to(dtype)}
    return cast


def _cast_after(graph: torch.fx.Graph, node: torch.fx.Node) -> None:
    import torch

    with graph.inserting_after(node):
        cast = _cast(graph, node, torch.float32)
    node.replace_all_uses_with(cast, delete_user_cb=lambda user: user is not cast)


def _cast_outputs(program: torch.export.ExportedProgram) -> None:
    """Makes bfloat16 of the results that are so in the source; what a program keeps for its next run is wide."""
    import torch
    from torch.export.graph_signature import OutputKind, TensorArgument

    output, signature = program.graph.output_node(), program.graph_signature
    results, specs = list(output.args[0]), list(signature.output_specs)
    for place, (result, spec) in enumerate(zip(results, specs, strict=True)):
        if spec.kind is OutputKind.USER_OUTPUT and isinstance(result, torch.fx.Node) and _is_narrow(result.meta.get("val")):
            with program.graph.inserting_before(output):
                results[place] = _cast(program.graph, result, torch.bfloat16)
            specs[place] = replace(spec, arg=TensorArgument(name=results[place].name))
    output.args = (tuple(results),)
    program._graph_signature = replace(signature, output_specs=specs)
