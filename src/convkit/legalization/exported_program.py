"""The operators of a torch exported program, and where in the user's own model they come from. Worker side."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from convkit.legalization.causes import causes, located, preferred
from convkit.legalization.codes import Reason
from convkit.legalization.places import NODE_KEY, Place, place
from convkit.legalization.target import Finding, Verdict

if TYPE_CHECKING:
    import torch

__all__ = [
    "DRAWS",
    "NODE_KEY",
    "Place",
    "calls",
    "convert_weights",
    "copied",
    "findings",
    "has_bodies",
    "is_in_place",
    "operator_name",
    "operators",
    "place_of",
    "random_nodes",
    "source_operator",
    "stable_operator_sets",
    "state_updates",
    "told",
    "without_batch_heuristics",
]


def operator_name(target: Any) -> str:
    """The name of a node's target as readers spell it: `aten.conv2d.default`, `_operator.mul`, `higher_order.cond`."""
    import torch

    if isinstance(target, torch._ops.OpOverload):
        return str(target)
    if isinstance(target, torch._ops.HigherOrderOperator):
        return f"higher_order.{target.name()}"
    return f"{getattr(target, '__module__', None) or 'builtins'}.{getattr(target, '__name__', target)}"


def calls(program: torch.export.ExportedProgram) -> Iterator[torch.fx.Node]:
    """Every operator node, those of control-flow branches included; picking from a tuple is no operator."""
    import operator

    import torch

    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                if node.op == "call_function" and node.target is not operator.getitem:
                    yield node


def has_bodies(program: torch.export.ExportedProgram) -> bool:
    """Whether a program has branches or loops, whose graphs are modules inside its own."""
    import torch

    return sum(isinstance(module, torch.fx.GraphModule) for module in program.graph_module.modules()) > 1


def is_in_place(node: torch.fx.Node) -> bool:
    """Whether a call may change one of its arguments, as programs do before they are decomposed."""
    import torch

    return isinstance(node.target, torch._ops.OpOverload) and bool(node.target._schema.is_mutable)


def copied(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """A program with a graph and tables of its own, which compilers empty; the weights are shared."""
    import copy

    result = copy.copy(program)
    result._graph_module = copy.deepcopy(program.graph_module)
    result._range_constraints = dict(program.range_constraints)
    result._state_dict, result._constants = dict(program._state_dict), dict(program._constants)
    # Copying renames nodes that are called like Python's builtins (`input`), and the graph signature goes by name.
    for old, new in zip(program.graph.nodes, result.graph.nodes, strict=True):
        new.name = old.name
    return result


def convert_weights(
    program: torch.export.ExportedProgram, chosen: Callable[[Any], bool], converted: Callable[[torch.Tensor], torch.Tensor]
) -> list[torch.fx.Node]:
    """Changes parameters, buffers and constants of a program in place; the program that it is a copy of keeps its own.

    Args:
        program: Whose graph is its own (`copied`).
        chosen: Which, told from a fake tensor.
        converted: What becomes of one, real or fake.

    Returns:
        Their placeholders.
    """
    import torch

    specs = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target is not None}
    stores = [dict(program._state_dict), dict(program._constants)]
    nodes = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in specs and chosen(n.meta.get("val"))]
    for node in nodes:
        for store in stores:
            if (tensor := store.get(specs[node.name])) is not None:
                new = converted(tensor.detach())
                is_parameter = isinstance(tensor, torch.nn.Parameter)
                store[specs[node.name]] = torch.nn.Parameter(new, requires_grad=False) if is_parameter else new
        with node.meta["val"].fake_mode:
            node.meta["val"] = converted(node.meta["val"])
    program._state_dict, program._constants = stores
    return nodes


def place_of(node: torch.fx.Node) -> Place:
    """Where a node comes from; empty parts where the program does not record it."""
    imported = (node.meta.get("custom") or {}).get(NODE_KEY)
    if imported:
        return Place(str(imported), "")
    stack = [(str(path), str(kind)) for path, kind in (node.meta.get("nn_module_stack") or {}).values()]
    return place(stack, node.meta.get("stack_trace") or "")


def source_operator(node: torch.fx.Node) -> str:
    """The operator of the undecomposed program that a node was made of; its own where that is not recorded."""
    origin = next(iter(node.meta.get("from_node") or ()), None)
    while origin is not None and origin.from_node:
        origin = origin.from_node[0]
    target = str(origin.target) if origin is not None else ""
    return target if re.fullmatch(r"\w+\.\w+\.\w+", target) else operator_name(node.target)


def operators(program: torch.export.ExportedProgram) -> dict[str, list[Place]]:
    """Every operator's places, one per node, in the order of the graph."""
    found: dict[str, list[Place]] = {}
    for node in calls(program):
        found.setdefault(operator_name(node.target), []).append(place_of(node))
    return found


def findings(
    program: torch.export.ExportedProgram, gaps: Mapping[torch.fx.Node, str], rewritten: Mapping[str, str] | None = None
) -> list[Finding]:
    """The verdicts on a program's operators, gaps first; `gaps` are nodes, of it or left after decomposition, and reasons.

    `rewritten` are operators that are written out in others, with what that does.
    """
    changed = rewritten or {}
    known = operators(program)
    counts = {name: len(places) for name, places in known.items()}
    where: dict[tuple[str, str], dict[str, None]] = {}
    left: dict[tuple[str, str], dict[str, None]] = {}
    for node, reason in causes(gaps).items():
        key = source_operator(node), reason
        where.setdefault(key, {}).update(dict.fromkeys(map(str, located(key[0], place_of(node), known))))
        left.setdefault(key, {})[operator_name(node.target)] = None

    def told_why(operator: str, reason: str) -> str:
        names = [name for name in left[operator, reason] if name != operator]
        return Reason.like(reason, f"it decomposes into {', '.join(names)}: {reason}") if names else reason

    hint = "rewrite it with other operators in the model"
    refused = {name for name, _ in where}
    return [
        Finding(name, counts.get(name, len(places)), Verdict.GAP, told_why(name, reason), tuple(filter(None, places)), hint)
        for (name, reason), places in sorted((key, where[key]) for key in preferred(where))
    ] + [
        Finding(name, count, Verdict.REWRITTEN if name in changed else Verdict.LEGAL, changed.get(name, ""))
        for name, count in sorted(counts.items())
        if name not in refused
    ]


def state_updates(program: torch.export.ExportedProgram) -> list[torch.fx.Node]:
    """The nodes that give a buffer a new value for the next run: in place, or once decomposed as outputs of their own.

    A target without variables computes every run from the first values, so that only the first run is right.
    """
    from torch.export.graph_signature import InputKind

    signature = program.graph_signature
    buffers = {s.arg.name for s in signature.input_specs if s.kind is InputKind.BUFFER}
    found = [node for node in program.graph.nodes if node.name in signature.buffers_to_mutate]
    for node in program.graph.nodes:
        if is_in_place(node):
            found += [node] if any(a.name in buffers for a in node.all_input_nodes[:1]) else []
    return found


# Operators that drop elements, and the arguments that all have to be set for that.
_DROPS: Mapping[str, Sequence[str]] = {
    "_fused_dropout": ["p"], "alpha_dropout": ["p", "train"], "dropout": ["p", "train"], "feature_dropout": ["p", "train"],
    "native_dropout": ["p", "train"], "rrelu": ["training"], "scaled_dot_product_attention": ["dropout_p"],
}  # fmt: skip
DRAWS = ("bernoulli", "multinomial", "normal", "poisson", "rand", "uniform")
_DROPPING = Reason("it is random in training: call eval() on the model before it is exported", "CK114")
_DRAWING = Reason("it draws random numbers, which no two runs agree on: make them an input of the model", "CK114")


def random_nodes(program: torch.export.ExportedProgram) -> dict[torch.fx.Node, str]:
    """The nodes whose results are random, in training or always, and reach an output; no target does what they do twice."""
    found: dict[torch.fx.Node, str] = {}
    for node in calls(program):
        name = getattr(node.target, "_opname", "").rstrip("_")
        if name in _DROPS and all(_argument(node, wanted) for wanted in _DROPS[name]):
            found[node] = _DROPPING
        elif name.startswith(DRAWS) and _is_seeded(node) and _is_used(node):
            found[node] = _DRAWING
    return found


def _argument(node: torch.fx.Node, name: str) -> Any:
    """An argument by its name, the operator's default where it is not given."""
    place, argument = next((n, a) for n, a in enumerate(node.target._schema.arguments) if a.name == name)
    return node.args[place] if len(node.args) > place else node.kwargs.get(name, argument.default_value)


def _is_seeded(node: torch.fx.Node) -> bool:
    import torch

    return isinstance(node.target, torch._ops.OpOverload) and torch.Tag.nondeterministic_seeded in node.target.tags


def _is_used(node: torch.fx.Node) -> bool:
    """Whether an output depends on a node: a module may draw what it uses in training only (layer dropout)."""
    seen, ahead = set(), [node]
    while ahead:
        for user in ahead.pop().users:
            if user.op == "output":
                return True
            if user not in seen:
                seen.add(user)
                ahead.append(user)
    return False


@contextmanager
def stable_operator_sets() -> Iterator[None]:
    """Lists torch's composite operators once for many decompositions.

    Each `run_decompositions` asks for the list anew, and lowering runs some twenty of them: listing took a third of the time.
    """
    from torch._export import utils
    from torch.export import exported_program

    known = utils._collect_all_valid_cia_ops()
    listing = exported_program._collect_all_valid_cia_ops
    exported_program._collect_all_valid_cia_ops = known.copy
    try:
        yield
    finally:
        exported_program._collect_all_valid_cia_ops = listing


def told(nodes: Iterable[torch.fx.Node]) -> str:
    """The operators of nodes in one line, each with its first place; empty where there is none."""
    found: dict[str, str] = {}
    for node in nodes:
        found.setdefault(source_operator(node), str(place_of(node)))
    return ", ".join(f"{name} at {place}" if place else name for name, place in found.items())


@contextmanager
def without_batch_heuristics() -> Iterator[None]:
    """Keeps torch from choosing a convolution kernel while a program is traced again.

    The choice between oneDNN and NNPACK asks whether the batch is below 16, and the answer becomes a guard: a program
    exported for batches of 1 to 64 comes out for 2 to 15, without a word (aten/src/ATen/native/Convolution.cpp). What is
    known of a dimension belongs to the program and all its copies, so every converter decorates its work with this.
    """
    import torch

    with torch.backends.mkldnn.flags(enabled=False), torch.backends.nnpack.flags(enabled=False):
        yield
