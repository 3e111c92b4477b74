"""What a target takes of torch's operators, and exported programs rewritten to that."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from convkit.legalization import exported_program as programs
from convkit.legalization.torch.decompositions import registered, table

if TYPE_CHECKING:
    import torch

__all__ = ["TorchTarget", "needed", "rewritten", "written_out"]


@dataclass(frozen=True, eq=False)
class TorchTarget:
    """What a converter does with torch's operators.

    Attributes:
        name: The converter's name.
        accepts: Whether it translates an overload, and rightly.
        forms: Overload → whether it does so with these arguments, for those that it translates in part.
    """

    name: str
    accepts: Callable[[torch._ops.OpOverload], bool]
    forms: Mapping[str, Callable[..., bool]] = field(default_factory=dict)


def needed(nodes: Iterable[torch.fx.Node], target: TorchTarget) -> list[torch.fx.Node]:
    """The nodes that a decomposition is there for, and that the target does not take as they are."""
    found = []
    own = table(target)
    for node in nodes:
        if node.target in own:
            takes = target.forms.get(str(node.target))
            if takes is None or not takes(*_values(node.args), **_values(node.kwargs)):
                found.append(node)
    return found


def _values(arguments: Any) -> Any:
    """The arguments of a node as a decomposition sees them: fake tensors for nodes."""
    import torch

    return torch.fx.node.map_arg(arguments, lambda node: node.meta.get("val"))


def written_out(
    program: torch.export.ExportedProgram, target: TorchTarget, others: Mapping[Any, Any] | None = None
) -> torch.export.ExportedProgram:
    """The program with the operators written out that a target lacks; the same program where it has none.

    Args:
        program: It stays what it is; the weights are shared.
        target: What need not be written out.
        others: Decompositions to run with convkit's: an operator that shows only when others are decomposed needs them.
    """
    if others is None and not needed(programs.calls(program), target):
        return program
    return program.run_decompositions({**(others or {}), **table(target)})


def rewritten(program: torch.export.ExportedProgram, target: TorchTarget) -> dict[str, str]:
    """The program's operators that are written out for a target, with what that does."""
    known = registered()
    names = dict.fromkeys(str(node.target) for node in needed(programs.calls(program), target))
    return {name: known[name].reason if name in known else "written out by torch" for name in names}
