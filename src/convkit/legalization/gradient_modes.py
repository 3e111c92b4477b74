"""Bodies of `with torch.no_grad():` become part of the graph around them. Worker side.

torch.export keeps such a block as an operator with a graph of its own (`wrap_with_set_grad_enabled`). A converted model has no
gradients, so the block means nothing, and torch's decompositions forget the source lines of what is in it.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["inline_gradient_modes"]


def inline_gradient_modes(program: torch.export.ExportedProgram) -> int:
    """Inlines the blocks of a program's main graph, in place, and the blocks in these.

    Returns:
        How many there were.
    """
    import torch

    block = torch.ops.higher_order.wrap_with_set_grad_enabled
    graph, count = program.graph, 0
    while (node := next((n for n in graph.nodes if n.op == "call_function" and n.target is block), None)) is not None:
        _inline(program.graph_module, node)
        count += 1
    if count:
        graph.eliminate_dead_code(lambda n: n.op not in {"get_attr"})
        program.graph_module.delete_all_unused_submodules()
        program.graph_module.recompile()
    return count


def _inline(root: torch.fx.GraphModule, node: torch.fx.Node) -> None:
    import torch

    _, holder, *operands = node.args
    assert isinstance(holder, torch.fx.Node)
    body = getattr(root, str(holder.target))
    copies: dict[torch.fx.Node, Any] = dict(zip((n for n in body.graph.nodes if n.op == "placeholder"), operands, strict=True))
    results: Any = ()
    with node.graph.inserting_before(node):
        for inner in body.graph.nodes:
            if inner.op == "output":
                results = torch.fx.map_arg(inner.args[0], lambda n: copies[n])
            elif inner.op == "get_attr":
                setattr(root, f"{holder.target}_{inner.target}", getattr(body, str(inner.target)))
                copies[inner] = node.graph.get_attr(f"{holder.target}_{inner.target}")
                copies[inner].meta = dict(inner.meta)
            elif inner.op != "placeholder":
                copies[inner] = node.graph.node_copy(inner, lambda n: copies[n])
    for user in list(node.users):
        assert user.target is operator.getitem
        name, result = user.name, results[user.args[1]]
        user.replace_all_uses_with(result)
        node.graph.erase_node(user)
        if any(n.op == "output" for n in result.users):
            result.name = name  # by which the program's signature finds its outputs
    node.graph.erase_node(node)
