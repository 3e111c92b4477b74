"""A LiteRT model as an `nn.Module` whose `forward` interprets the file; `torch.export` traces it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx.experimental.symbolic_shapes import ShapeEnv

from convkit.interpreters.litert.folding import folded
from convkit.interpreters.litert.interpreter import Interpreter
from convkit.interpreters.litert.model import Entry, Model
from convkit.interpreters.litert.parameters import Constants, Request, names_of
from convkit.interpreters.litert.variables import initial_values

__all__ = ["LiteRTModule"]


class LiteRTModule(torch.nn.Module):  # type: ignore[misc]
    """Computes one signature of a file.

    Constants are parameters (floats) and buffers (everything else); variables are buffers that a call replaces, with the values
    that the file's initialisation gives them.

    Args:
        model: The file.
        entry: What to run.
        shapes: The sizes of its inputs, to find out which constants are needed as what.
        dequantize: Compute in numbers, without rounding to levels, between quantized inputs and outputs.

    Raises:
        OperatorError: An operator cannot be computed.
    """

    def __init__(self, model: Model, entry: Entry, shapes: Sequence[Sequence[int]], *, dequantize: bool = False) -> None:
        super().__init__()
        self._model = model
        self._entry = entry
        self._dequantize = dequantize
        self._arrays = folded(model, model.called(entry))
        self._variables: dict[str, str] = {}
        for number, (name, value) in enumerate(initial_values(model, entry, self._arrays).items()):
            self._variables[name] = f"variable_{number}"
            self.register_buffer(f"variable_{number}", value)
        self._names: dict[Request, str] = {}
        self._hold(self._needed(shapes))

    def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """One tensor per input of the entry, in order; returns one per output."""
        constants = Constants(self._arrays, {request: getattr(self, name) for request, name in self._names.items()})
        return self._run(constants, inputs)

    def _run(self, constants: Constants, inputs: Sequence[torch.Tensor]) -> tuple[torch.Tensor, ...]:
        held = {name: getattr(self, attribute) for name, attribute in self._variables.items()}
        variables = dict(held)
        interpreter = Interpreter(self._model, constants, variables, dequantize=self._dequantize)
        graph = self._entry.subgraph
        given = {t: interpreter.from_edge(x, t) for t, x in zip(self._entry.inputs, inputs, strict=True)}
        results = dict(zip(graph.outputs, interpreter.run(graph, [given[t] for t in graph.inputs]), strict=True))
        outputs = tuple(interpreter.to_edge(results[t], t) for t in self._entry.outputs)
        for name, value in variables.items():
            if value is not held.get(name):
                getattr(self, self._variables[name]).copy_(value)
        return outputs

    def _needed(self, shapes: Sequence[Sequence[int]]) -> dict[Request, torch.Tensor]:
        """The constants that a run asks for; a run of shapes alone."""
        from convkit.interpreters.litert.values import torch_dtype

        mode = FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True, allow_non_fake_inputs=True)
        constants = _Recorder(self._arrays)
        with torch.no_grad(), mode:
            stand_ins = [
                torch.zeros(list(shape), dtype=torch_dtype(t.dtype)) for t, shape in zip(self._entry.inputs, shapes, strict=True)
            ]
            self._run(constants, stand_ins)
        return constants.asked

    def _hold(self, needed: dict[Request, torch.Tensor]) -> None:
        names = names_of(
            list(needed), lambda name: hasattr(torch.nn.Module, name) or name in _OWN or name.startswith("variable_")
        )
        for request, tensor in needed.items():
            if tensor.is_floating_point():
                self.register_parameter(names[request], torch.nn.Parameter(tensor, requires_grad=False))
            else:
                self.register_buffer(names[request], tensor)
        self._names = names


class _Recorder(Constants):
    """Remembers which constants have been asked for, as real tensors."""

    def __init__(self, arrays: dict[Any, np.ndarray]) -> None:
        super().__init__(arrays)
        self.asked: dict[Request, torch.Tensor] = {}

    def _make(self, request: Request) -> torch.Tensor:
        from torch._subclasses.fake_tensor import unset_fake_temporarily

        with unset_fake_temporarily():
            tensor = super()._make(request)
        self.asked[request] = tensor
        return tensor.to("cpu")


_OWN = frozenset(("training", "T_destination", "call_super_init", "dump_patches"))
