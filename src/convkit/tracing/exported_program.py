"""What the operators of a torch exported program compute, in eager PyTorch, one call at a time."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.components import Host, Tracer
from convkit.formats import Variant
from convkit.traces import Recorder, TracedOperator

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["TRACER", "trace"]

TRACER = Tracer(
    name="PyTorch",
    variants=(Variant.EXPORTED_PROGRAM,),
    host=Host(group="torch", preload=("torch",), packages=("torch",)),
)


def trace(artifact: Artifact, feeds: Mapping[str, np.ndarray], record: Recorder) -> None:
    """Records every call of the program's graph; branches of control flow are one operator each.

    Raises:
        UnreadableModelError: torch cannot load the program.
    """
    import torch

    from convkit.loading import pytorch as loading
    from convkit.runtimes.pytorch import input_structure

    assert artifact.signature is not None
    program = loading.exported_program(artifact)
    module = program.module()
    for node in module.graph.nodes:
        if node.op == "call_function" and node.target is not operator.getitem:
            record.operator(_operator(node))
    structure = input_structure(artifact)
    assert structure is not None
    args, kwargs = structure.fill([loading.to_torch(feeds[t.name], t.dtype) for t in artifact.signature.inputs])
    placeholders = [n for n in module.graph.nodes if n.op == "placeholder"]
    leaves = torch.utils._pytree.tree_leaves((args, kwargs))
    given = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    _run(module, leaves, record)
    record.edges(_inputs(artifact, placeholders, leaves, given), _outputs(artifact, module))


def _inputs(
    artifact: Artifact, placeholders: list[torch.fx.Node], leaves: list[Any], given: list[torch.Tensor]
) -> dict[str, str]:
    assert artifact.signature is not None
    held = {id(t) for t in given}
    names = [p.name for p, leaf in zip(placeholders, leaves, strict=False) if id(leaf) in held]
    return dict(zip(artifact.signature.input_names, names, strict=False))


def _outputs(artifact: Artifact, module: torch.fx.GraphModule) -> dict[str, str]:
    import torch

    assert artifact.signature is not None
    last = next(n for n in reversed(module.graph.nodes) if n.op == "output")
    leaves = [n for n in torch.utils._pytree.tree_leaves(last.args[0]) if isinstance(n, torch.fx.Node)]
    return dict(zip(artifact.signature.output_names, (n.name for n in leaves), strict=False))


def _operator(node: torch.fx.Node) -> TracedOperator:
    from convkit.legalization.exported_program import operator_name, place_of

    place = place_of(node)
    picked = [user.name for user in node.users if user.target is operator.getitem]
    return TracedOperator(
        node.name,
        operator_name(node.target),
        tuple(n.name for n in _tensors_of((*node.args, *node.kwargs.values()))),
        tuple(picked) or (node.name,),
        _attributes(node),
        str(place),
    )


def _tensors_of(arguments: Iterable[Any]) -> Iterator[torch.fx.Node]:
    import torch

    for argument in arguments:
        if isinstance(argument, torch.fx.Node):
            yield argument
        elif isinstance(argument, list | tuple):
            yield from _tensors_of(argument)


def _attributes(node: torch.fx.Node) -> dict[str, Any]:
    """The arguments that are no tensors, by their names in the operator's schema."""
    schema = getattr(node.target, "_schema", None)
    names = [a.name for a in schema.arguments] if schema is not None else [str(i) for i in range(len(node.args))]
    given = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
    return {n: v if not isinstance(v, tuple) else list(v) for n, v in given.items() if _is_plain(v)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(isinstance(v, int | float) for v in value)
    return isinstance(value, int | float | str)


def _run(module: torch.fx.GraphModule, inputs: list[Any], record: Recorder) -> None:
    import torch

    from convkit.loading.pytorch import to_numpy

    class Recording(torch.fx.Interpreter):  # type: ignore[misc] # torch.fx has no types
        """Records the tensors as they come; what nothing reads any more is freed."""

        def run_node(self, n: torch.fx.Node) -> Any:
            value = super().run_node(n)
            if n.op != "output" and isinstance(value, torch.Tensor):
                record.tensor(n.name, to_numpy(value), constant=n.op == "get_attr")
            return value

    with torch.inference_mode():
        Recording(module).run(*inputs)
