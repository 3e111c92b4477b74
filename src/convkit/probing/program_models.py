"""One-operator programs out of an exported program. Runs in torch's process; `convkit.probing.programs` says which ones."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.artifact import Artifact
from convkit.errors import ConversionError
from convkit.signature import Signature, TensorSpec

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["Cut", "write"]

_LEAST_SIZE = 2
_UNKNOWN_SIZE = 4
_MOST_WEIGHTS = 256 << 20
"""Bytes that the weights of several operators may have in one program."""


def write(artifact: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, Any]]]:
    """Writes programs of some nodes that share nothing.

    Args:
        artifact: The exported program, as JSON.
        wanted: By the file to write the names of the nodes that go into it.

    Returns:
        By file, for each node, the names that its results have there ("outputs"), and the inputs with the names of the program's
        values that they stand for ("inputs"); a file is missing where there can be no such program.
    """
    from convkit.loading import pytorch as loading
    from convkit.loading import pytorch_capture

    program = loading.exported_program(Artifact.from_json(artifact))
    nodes = {node.name: node for node in program.graph.nodes}
    written = {}
    for file, names in wanted.items():
        try:
            cuts = [Cut(program, [nodes[name]]) for name in names]
            module, signature, feeds, prefixes = _together([cut.model() for cut in cuts])
            exported = pytorch_capture.export(module, signature, feeds, imported=True)
            pytorch_capture.save(exported, signature, Path(file))
        except (ConversionError, KeyError, TypeError, ValueError, RuntimeError):  # of several, each is tried alone
            continue
        written[file] = [
            {
                "outputs": [t.name for t in signature.outputs if t.name.startswith(own)],
                "inputs": {own + name: value for name, value in cut.origins.items()},
            }
            for own, cut in zip(prefixes, cuts, strict=True)
        ]
    return written


_Model = tuple["torch.nn.Module", Signature, "dict[str, np.ndarray]"]


def _together(models: Sequence[_Model]) -> tuple[torch.nn.Module, Signature, dict[str, np.ndarray], list[str]]:
    """Several models as one, with an example of each input, and what the names of each one's inputs and outputs begin with.

    The program's dynamic dimensions are those of all of them: of dozens no converter could tell which size is which.

    Raises:
        ValueError: They are too large for one.
    """
    import torch

    class Together(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.parts = torch.nn.ModuleList(module for module, _, _ in models)

        def forward(self, *arguments: torch.Tensor) -> tuple[torch.Tensor, ...]:
            given, results = iter(arguments), []
            for part, (_, signature, _) in zip(self.parts, models, strict=True):
                results += part(*(next(given) for _ in signature.inputs))
            return tuple(results)

    held = sum(t.numel() * t.element_size() for module, _, _ in models for t in module.state_dict().values())
    if len(models) > 1 and held > _MOST_WEIGHTS:
        raise ValueError(f"their weights are {held >> 20} MiB together")
    inputs: list[TensorSpec] = []
    outputs: list[TensorSpec] = []
    feeds: dict[str, np.ndarray] = {}
    prefixes = [f"p{position}_" for position in range(len(models))]
    for own, (_, signature, examples) in zip(prefixes, models, strict=True):
        inputs += [replace(t, name=own + t.name) for t in signature.inputs]
        outputs += [replace(t, name=own + t.name) for t in signature.outputs]
        feeds |= {own + name: array for name, array in examples.items()}
    return Together().eval(), Signature(tuple(inputs), tuple(outputs)), feeds, prefixes


class Cut:
    """Some nodes, and the shape arithmetic that they need, as a module.

    Args:
        program: Where they are from.
        nodes: Which ones.
        has_weights: Keep the values of weights; by default they are made up.

    Attributes:
        origins: The inputs of `model` → the program's values that they stand for.
    """

    def __init__(
        self, program: torch.export.ExportedProgram, nodes: Sequence[torch.fx.Node], *, has_weights: bool = False
    ) -> None:
        import torch

        self._program, self._nodes, self._kept, self._has_weights = program, nodes, set(nodes), has_weights
        self._root = torch.nn.Module()
        self._graph = torch.fx.Graph()
        self._copies: dict[torch.fx.Node, torch.fx.Node] = {}
        self._inputs: list[tuple[TensorSpec, np.ndarray]] = []
        self.origins: dict[str, str] = {}
        signature = program.graph_signature
        self._held = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
        self._held |= signature.inputs_to_lifted_tensor_constants

    def model(self) -> tuple[torch.nn.Module, Signature, dict[str, np.ndarray]]:
        """A module that computes the nodes, its signature, and an example of every input.

        Raises:
            ValueError: They compute no tensor, or need a number that is an input of the program.
        """
        import torch

        outputs: list[torch.fx.Node] = []
        for node in self._nodes:
            result, value = self._copied(node), node.meta.get("val")
            if all(user in self._kept for user in _users(node)) and node.users:
                continue
            if isinstance(value, tuple | list):
                picked = [k for k, v in enumerate(value) if isinstance(v, torch.Tensor)]
                outputs += [self._graph.call_function(operator.getitem, (result, k)) for k in picked]
            elif isinstance(value, torch.Tensor):
                outputs.append(result)
        if not outputs:
            raise ValueError("these nodes compute no tensor")
        self._graph.output(tuple(outputs))
        module = torch.fx.GraphModule(self._root, self._graph).eval()
        specs = tuple(TensorSpec(f"y{k}", "float32", None) for k in range(len(outputs)))
        return module, Signature(tuple(s for s, _ in self._inputs), specs), {s.name: a for s, a in self._inputs}

    def _copied(self, node: torch.fx.Node) -> torch.fx.Node:
        """The node's copy in the new graph; tensors that it takes become inputs or constants."""
        import torch

        if node not in self._copies:
            if not self._is_inside(node) and _is_tensor(node):
                self._copies[node] = self._edge(node)
            elif node.op == "get_attr":
                setattr(self._root, str(node.target), getattr(self._program.graph_module, str(node.target)))
                self._copies[node] = self._graph.get_attr(str(node.target))
            elif node.op != "call_function":
                raise ValueError(f"{node.name} is no operator")
            else:
                arguments = torch.fx.map_arg((node.args, node.kwargs), self._copied)
                args, kwargs = self._unaliased(node, arguments[0]), arguments[1]
                self._copies[node] = self._graph.call_function(node.target, args, kwargs)
        return self._copies[node]

    def _is_inside(self, node: torch.fx.Node) -> bool:
        return node in self._kept or (node.target is operator.getitem and node.args[0] in self._kept)

    def _unaliased(self, node: torch.fx.Node, args: Any) -> Any:
        """What an operator writes to is a copy: an input of a program is only read."""
        import torch

        target = node.target
        if isinstance(target, torch._ops.OpOverload) and target._schema.is_mutable and args:
            return (self._graph.call_function(torch.ops.aten.clone.default, (args[0],)), *args[1:])
        return args

    def _edge(self, node: torch.fx.Node) -> torch.fx.Node:
        """An input with the tensor's dtype and shape, or a made-up constant."""
        from convkit.loading import pytorch as loading

        value = node.meta["val"]
        if node.name in self._held:
            name = f"weight_{len(self._copies)}"
            made = self._weight(node) if self._has_weights else _made_up(value, node.name.endswith("var"))
            self._root.register_buffer(name, made)
            return self._graph.get_attr(name)
        name = f"x{len(self._inputs)}"
        self.origins[name] = node.name
        dims = [size if isinstance(size, int) else str(size) for size in value.shape]
        if any(isinstance(d, str) and not d.isidentifier() for d in dims) or self._has_expressions():
            dims = [_hint(size) for size in value.shape]
        spec = TensorSpec(name, loading.dtype_name(value.dtype), tuple(dims))
        sizes = {str(size): _hint(size) for size in value.shape if not isinstance(size, int)}
        self._inputs.append((spec, _zeros(spec, sizes)))
        first = next((n for n in self._graph.nodes if n.op != "placeholder"), None)
        if first is None:
            return self._graph.placeholder(name)
        with self._graph.inserting_before(first):
            return self._graph.placeholder(name)

    def _weight(self, node: torch.fx.Node) -> torch.Tensor:
        name = self._held[node.name]
        held = self._program.state_dict.get(name)
        return (self._program.constants[name] if held is None else held).detach().clone()

    def _has_expressions(self) -> bool:
        """Whether a tensor around the nodes has a size that is computed (`2*batch`): then all sizes are fixed, as none could be
        told apart from the others.
        """
        import torch

        around = [n for node in self._nodes for n in node.all_input_nodes if _is_tensor(n)]
        sizes = [size for n in around for size in n.meta["val"].shape if isinstance(size, torch.SymInt)]
        return any(not str(size).isidentifier() for size in sizes)


def _users(node: torch.fx.Node) -> Iterator[torch.fx.Node]:
    """What takes a node's results, behind the picking from tuples."""
    for user in node.users:
        yield from user.users if user.target is operator.getitem else (user,)


def _is_tensor(node: torch.fx.Node) -> bool:
    import torch

    return isinstance(node.meta.get("val"), torch.Tensor)


def _hint(size: Any) -> int:
    """The size that a symbol had when the model was exported, at least 2: of a size of 1 torch makes an assumption."""
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return max(_LEAST_SIZE, int(hint)) if isinstance(hint, int) else _UNKNOWN_SIZE


def _zeros(spec: TensorSpec, sizes: Mapping[str, int]) -> np.ndarray:
    import numpy as np

    return np.zeros(spec.concrete(sizes, _UNKNOWN_SIZE), spec.array_dtype)


def _made_up(value: torch.Tensor, positive: bool) -> torch.Tensor:
    """A constant of that dtype and shape, the same one every time; zeros where it may be indices."""
    import torch

    shape = [_hint(size) for size in value.shape]
    if not value.dtype.is_floating_point:
        return torch.zeros(shape, dtype=value.dtype)
    generator = torch.Generator().manual_seed(len(shape))
    made = torch.randn(shape, generator=generator)
    fan = max(1, made[0].numel() if made.dim() > 1 else 1)
    return (made.abs() + 0.1 if positive else made / fan**0.5).to(value.dtype)
