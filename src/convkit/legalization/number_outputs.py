"""Numbers that a program gives become tensors without axes, which is what signatures call them. Worker side.

A model may return a size (`x.shape[0]`) or a number of its own beside its tensors; exporters stop at what is no tensor.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

__all__ = ["tensors_for_numbers"]


def tensors_for_numbers(program: torch.export.ExportedProgram) -> int:
    """Makes tensors of a program's outputs that are numbers, constant or symbolic, in place.

    Returns:
        How many there were.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.export.graph_signature import OutputKind, TensorArgument

    output, signature = program.graph.output_node(), program.graph_signature
    results, specs = list(output.args[0]), list(signature.output_specs)
    values = [node.meta.get("val") for node in program.graph.nodes]
    mode = next((v.fake_mode for v in values if isinstance(v, torch._subclasses.FakeTensor)), None) or FakeTensorMode()
    dtypes = {torch.SymBool: torch.bool, bool: torch.bool, torch.SymInt: torch.int64, int: torch.int64}
    dtypes |= {torch.SymFloat: torch.float64, float: torch.float64}
    count = 0
    for place, (result, spec) in enumerate(zip(results, specs, strict=True)):
        number = result.meta.get("val") if isinstance(result, torch.fx.Node) else result
        if spec.kind is not OutputKind.USER_OUTPUT or type(number) not in dtypes:
            continue
        dtype = dtypes[type(number)]
        with program.graph.inserting_before(output):
            tensor = program.graph.call_function(torch.ops.aten.scalar_tensor.default, (result,), {"dtype": dtype})
        with mode:
            tensor.meta["val"] = torch.scalar_tensor(number, dtype=dtype)
        results[place], specs[place] = tensor, replace(spec, arg=TensorArgument(name=tensor.name))
        count += 1
    if count:
        output.args = (tuple(results),)
        program._graph_signature = replace(signature, output_specs=specs)
        program.graph_module.recompile()
    return count
