"""Walks a subgraph and computes every operator with PyTorch's.

Values are `Data` (tensors), `Host` (known while tracing: shapes and what is computed from them), constants of the file, and
handles of variables. An operator all of whose inputs are known is computed at once (`hosts`); every other one by its function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.fx import traceback

from convkit.errors import ConversionError
from convkit.interpreters.host import DataDependentError, Host
from convkit.interpreters.interpreter import NodeError
from convkit.interpreters.litert import hosts, quantization
from convkit.interpreters.litert.model import Model, Operator, Subgraph, Tensor
from convkit.interpreters.litert.parameters import Constants, Form
from convkit.interpreters.litert.table import PERMUTATIONS, Arithmetic, Entry, operators
from convkit.interpreters.litert.values import Data, Order, Variable, as_data, state_name, torch_dtype
from convkit.interpreters.operators import UnsupportedError
from convkit.interpreters.pytorch.sizes import unbacked
from convkit.legalization.exported_program import NODE_KEY

__all__ = ["Interpreter", "Node", "OperatorError", "Value"]

Value = Data | Host | Tensor | Variable
"""A computed tensor, a number or shape that is known, a constant of the file, or a variable's handle."""

_KNOWN_CONSTANT = 4096
"""Elements up to which an integer constant takes part in the arithmetic of shapes."""


class OperatorError(NodeError):
    """An operator that cannot be computed: its name, its place in the file, and why."""

    def __init__(self, operator: Operator, reason: str) -> None:
        ConversionError.__init__(self, f"{operator.name} ({operator.place}): {reason}", component="litert-importer")
        self.operator, self.place, self.reason = operator.name, operator.place, reason


@dataclass(frozen=True)
class Node:
    """What a function may want to know beyond its inputs.

    Attributes:
        operator: The operator in the file.
        interpreter: Of the subgraph that it is in.
        given: The values of its inputs.
        on_levels: Whether the function is given levels, and returns them.
    """

    operator: Operator
    interpreter: Interpreter
    given: Sequence[Value | None]
    on_levels: bool

    @property
    def output(self) -> Tensor:
        return self.operator.outputs[0]

    def sizes_of(self, value: Value) -> list[Any]:
        """The whole numbers of a value: known ones, or what only the data tell.

        Raises:
            DataDependentError: How many there are is dynamic.
        """
        known = self.interpreter.known(value)
        return known.sizes() if known is not None else unbacked(self.tensor(value), None)

    def tensor(self, value: Value) -> torch.Tensor:
        """A value that is not quantized as a tensor."""
        return self.interpreter.tensor(value, self.output, Form.LEVELS)

    def tensor_at(self, position: int) -> torch.Tensor:
        """An input in numbers."""
        value, declared = self.given[position], self.operator.inputs[position]
        assert value is not None and declared is not None
        return self.interpreter.tensor(value, declared, Form.REAL)

    def number(self, position: int) -> float:
        """The number that an input holds.

        Raises:
            DataDependentError: It is computed.
        """
        value, declared = self.given[position], self.operator.inputs[position]
        assert value is not None and declared is not None
        array = self.interpreter.constants.array(value) if isinstance(value, Tensor) else None
        if array is None:
            raise DataDependentError(f"input {position} is computed from the model's inputs")
        number = float(np.asarray(array, np.float64).reshape(-1)[0])
        parameters = declared.quantization
        if parameters is None:
            return number
        return (number - float(parameters.zero_points[0])) * float(parameters.scales[0])

    def call(self, subgraph: int, inputs: Sequence[Value]) -> list[Value]:
        """Runs another subgraph."""
        return self.interpreter.run(self.interpreter.model.subgraphs[subgraph], inputs)


class Interpreter:
    """Computes subgraphs.

    Args:
        model: The file.
        constants: Its constants as tensors.
        variables: The values of variables by name, which operators read and replace.
        dequantize: Compute in numbers, without rounding to levels.
    """

    def __init__(
        self, model: Model, constants: Constants, variables: dict[str, torch.Tensor], *, dequantize: bool = False
    ) -> None:
        self.model = model
        self.constants = constants
        self.variables = variables
        self.dequantize = dequantize

    def run(self, graph: Subgraph, inputs: Sequence[Value]) -> list[Value]:
        """Computes a subgraph: one value per input in, one per output out.

        Raises:
            OperatorError: An operator has no counterpart.
        """
        values: dict[Tensor, Value] = dict(zip(graph.inputs, inputs, strict=True))
        last = _last_uses(graph)
        for position, operator in enumerate(graph.operators):
            given = [None if t is None else self._value(t, values, operator) for t in operator.inputs]
            values.update(zip(operator.outputs, self.compute(operator, given), strict=False))
            for tensor in last.get(position, ()):
                values.pop(tensor, None)
        return [self._value(t, values, None) for t in graph.outputs]

    def quantizes(self, tensor: Tensor) -> bool:
        """Whether a computed tensor is held as levels."""
        return tensor.quantization is not None and not self.dequantize

    def known(self, value: Value) -> Host | None:
        """What is known of a value while tracing; None for tensors, and for constants too large to be sizes."""
        if isinstance(value, Host):
            return value
        if isinstance(value, Tensor):
            array = self.constants.array(value)
            small = array is not None and array.size <= _KNOWN_CONSTANT and value.quantization is None
            return Host(array, array.dtype) if array is not None and small else None
        return None

    def tensor(self, value: Value, declared: Tensor, form: Form, order: Order = None) -> torch.Tensor:
        """A value as a tensor.

        Args:
            value: The value.
            declared: The tensor of the file that it is the value of.
            form: Of its values, where it is quantized.
            order: Of its axes.
        """
        if isinstance(value, Tensor):
            return self.constants.get(value, Form.REAL if self.dequantize else form, order)
        if isinstance(value, Host):
            value = as_data(value)
        if not isinstance(value, Data):
            raise UnsupportedError("a variable's handle is used as a tensor")
        tensor = value.tensor(order)
        if not self.quantizes(declared) or form is Form.LEVELS:
            return tensor
        assert declared.quantization is not None
        convert = quantization.centred if form is Form.CENTRED else quantization.real
        return convert(tensor, declared.quantization, order)

    def from_edge(self, tensor: torch.Tensor, declared: Tensor) -> Data:
        """What comes in from outside (the model's edge, a variable) in the file's dtype, as it is computed with."""
        if declared.quantization is None:
            return Data(tensor)
        levels = tensor.to(torch.float32)
        return Data(quantization.real(levels, declared.quantization) if self.dequantize else levels)

    def to_edge(self, value: Value, declared: Tensor) -> torch.Tensor:
        """The reverse: a value in the dtype that the file declares."""
        tensor = self.tensor(value, declared, Form.LEVELS)
        if declared.quantization is not None and self.dequantize:
            tensor = quantization.levels(tensor, declared)
        wanted = torch_dtype(declared.dtype)
        return tensor if tensor.dtype == wanted else tensor.to(wanted)

    def _value(self, tensor: Tensor, values: dict[Tensor, Value], operator: Operator | None) -> Value:
        if tensor in values:
            return values[tensor]
        if self.constants.array(tensor) is not None:
            return tensor
        reason = f"tensor {tensor.index} ({tensor.name or 'unnamed'}) is used before it is computed"
        if operator is None:
            raise ConversionError(reason)
        if tensor.is_variable:
            return Variable(state_name(tensor))
        raise OperatorError(operator, reason)

    def compute(self, operator: Operator, given: list[Value | None]) -> list[Value]:
        """The results of one operator.

        Raises:
            OperatorError: It cannot be computed.
        """
        entry = operators().find(operator.name)
        try:
            if entry is None:
                raise UnsupportedError("the importer does not have this operator")
            if (refusal := entry.refusal(operator)) is not None:
                raise UnsupportedError(refusal)
            if (known := self._at_once(operator, given)) is not None:
                return known
            with traceback.annotate({NODE_KEY: f"{operator.name} ({operator.place})"}):
                return self._call(entry, operator, given)
        except NodeError:
            raise
        except UnsupportedError as error:
            raise OperatorError(operator, str(error)) from error
        except DataDependentError as error:
            raise OperatorError(operator, error.reason) from error
        except Exception as error:
            text = " ".join(str(error).split())[:300]
            raise OperatorError(operator, f"{type(error).__name__}: {text}") from error

    def _at_once(self, operator: Operator, given: list[Value | None]) -> list[Value] | None:
        """The results of the arithmetic of shapes, None for work on data."""
        if operator.name in ("SHAPE", "RANK"):
            value = given[0]
            array = self.constants.array(value) if isinstance(value, Tensor) else None
            sizes = list(array.shape) if array is not None else value.shape if isinstance(value, Data) else None
            if isinstance(value, Host):
                sizes = list(value.array.shape)
            if sizes is None:
                return None
            return [Host.of(len(sizes) if operator.name == "RANK" else sizes, np.dtype(operator.outputs[0].dtype))]
        if any(t.quantization is not None for t in operator.outputs):
            return None
        known = [None if value is None else self.known(value) for value in given]
        if any(value is not None and host is None for value, host in zip(given, known, strict=True)):
            return None
        found = hosts.evaluate(operator, known)
        return None if found is None else list(found)

    def _call(self, entry: Entry, operator: Operator, given: list[Value | None]) -> list[Value]:
        """Calls an operator's function, and brings its results into the form in which they are held."""
        options = {k: v for k, v in operator.options.items() if k in entry.handler.attributes}
        order = self._common_order(operator, given) if entry.elementwise else None
        if "order" in entry.handler.attributes:
            options["order"] = order
        form = self._form(entry, operator)
        if entry.handler.takes_node:
            options["node"] = Node(operator, self, given, form is Form.LEVELS)
        arguments = [self._argument(entry, operator, given, k, form, order) for k in range(len(given))]
        result = entry.handler.function(*arguments, **options)
        results = list(result) if isinstance(result, (tuple, list)) else [result]
        own = "fused_activation_function" in entry.handler.attributes  # recurrent layers apply it inside
        activation = "NONE" if own else operator.options.get("fused_activation_function", "NONE")
        order = entry.result if entry.result is not None else order
        found: list[Value] = []
        for tensor, made in zip(results, operator.outputs, strict=False):
            if not isinstance(tensor, torch.Tensor):
                found.append(tensor)
            elif form is Form.CENTRED:
                found.append(Data(self._scaled(tensor, entry, operator, activation, order), order))
            elif made.quantization is not None and _moves_levels(entry, operator):
                found.append(Data(tensor, order))
            else:
                numbers = quantization.activated(tensor, activation)
                found.append(Data(self._held(numbers, made, order), order))
        return found

    def _form(self, entry: Entry, operator: Operator) -> Form:
        """What an operator's function is given of quantized tensors."""
        given = [t for t in operator.inputs if t is not None]
        if self.dequantize or not given:
            return Form.REAL
        if entry.arithmetic is Arithmetic.ACCUMULATED:
            operands = [operator.inputs[k] for k in entry.operands]
            return Form.CENTRED if all(t is not None and t.quantization is not None for t in operands) else Form.REAL
        return Form.LEVELS if _moves_levels(entry, operator) else Form.REAL

    def _argument(
        self, entry: Entry, operator: Operator, given: list[Value | None], position: int, form: Form, order: Order
    ) -> Any:
        value, declared = given[position], operator.inputs[position]
        kind = entry.handler.kind(position)
        if value is None or declared is None or kind == "Value":
            return value
        if kind in ("Sizes", "Known"):
            known = self.known(value)
            if known is None and isinstance(value, Tensor):
                array = self.constants.array(value)
                known = None if array is None else Host(array, array.dtype)
            if known is None:
                raise DataDependentError(
                    f"input {position} ({declared.name or declared.index}) is computed from the model's inputs"
                )
            return known.sizes() if kind == "Sizes" else known.known()
        if form is Form.CENTRED and position not in entry.operands:
            form = Form.LEVELS  # a bias, in the same steps as the sums
        return self.tensor(value, declared, form, PERMUTATIONS.get(kind, order))

    def _scaled(self, sums: torch.Tensor, entry: Entry, operator: Operator, activation: str, order: Order) -> torch.Tensor:
        """Sums of products of levels, as their output is held."""
        output = operator.outputs[0]
        scales = np.ones(1, np.float32)
        for operand in (operator.inputs[k] for k in entry.operands):
            assert operand is not None and operand.quantization is not None
            scales = scales * operand.quantization.scales
        axis = sums.dim() - 1
        if output.quantization is not None and activation in ("NONE", "RELU", "RELU6", "RELU_N1_TO_1"):
            return quantization.requantized(sums, scales, output, activation, order, axis)
        factors = quantization.per_slice(scales, sums.dim(), axis, order)
        return self._held(quantization.activated(sums * factors, activation), output, order)

    def _held(self, tensor: torch.Tensor, made: Tensor, order: Order) -> torch.Tensor:
        """A result in numbers, as its output is held."""
        if self.quantizes(made):
            return quantization.levels(tensor, made, order)
        if made.quantization is not None:
            return quantization.saturated(tensor.to(torch.float32), made)
        wanted = torch_dtype(made.dtype)
        return tensor if tensor.dtype == wanted else tensor.to(wanted)

    def _common_order(self, operator: Operator, given: list[Value | None]) -> Order:
        """The order of axes in which an elementwise operator moves least: that in which its operands have been computed."""
        data = [v for v in given if isinstance(v, Data)]
        wanted = next((o for v in data for o in v.orders if o is not None), None)
        if wanted is None or any(None in v.orders and len(v.shape) == len(wanted) and len(v.orders) == 1 for v in data):
            return None
        for value in given:
            rank = len(wanted) if value is None else self._rank(value)
            if rank is None or rank > len(wanted) or (isinstance(value, (Data, Host)) and 0 < rank < len(wanted)):
                return None
        return wanted

    def _rank(self, value: Value) -> int | None:
        if isinstance(value, Tensor):
            array = self.constants.array(value)
            return None if array is None else array.ndim
        return len(value.shape) if isinstance(value, Data) else value.array.ndim if isinstance(value, Host) else None


def _moves_levels(entry: Entry, operator: Operator) -> bool:
    """Whether an operator only moves values, between tensors that mean the same by the same levels."""
    mine = [t.quantization for t in operator.outputs]
    theirs = [t.quantization for t in operator.inputs if t is not None and t.quantization is not None]
    same = bool(mine and theirs) and all(m is not None and all(m.same_as(t) for t in theirs) for m in mine)
    plain = operator.options.get("fused_activation_function", "NONE") == "NONE"
    return entry.arithmetic is Arithmetic.LEVELS and same and plain


def _last_uses(graph: Subgraph) -> dict[int, list[Tensor]]:
    """After which operator each tensor is not needed any more."""
    last: dict[Tensor, int] = {}
    for position, operator in enumerate(graph.operators):
        last.update({t: position for t in (*operator.inputs, *operator.outputs) if t is not None})
    found: dict[int, list[Tensor]] = {}
    for tensor in set(last) - set(graph.outputs):
        found.setdefault(last[tensor], []).append(tensor)
    return found
