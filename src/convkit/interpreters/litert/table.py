"""The table that the operator families register in: which function computes which operator.

A function takes an operator's inputs as positional parameters and its options as keyword-only ones, under the schema's names and
with the schema's defaults (enumerations by name: `padding="SAME"`). The fused activation is none of its business:

    @operator("LEAKY_RELU", elementwise=True)
    def leaky_relu(x, *, alpha=0.0):
        return functional.leaky_relu(x, alpha)

What it is given of a quantized tensor depends on its `arithmetic`:

* `REAL`: the numbers that the levels stand for; the result is quantized again.
* `LEVELS`: the levels themselves, as float32, where the result has the first input's quantization; for what only moves values.
* `ACCUMULATED`: of its two `operands` the levels without their zero points, of a bias the levels, so that sums are whole numbers,
  exact in float32; the sums are scaled, rounded and clamped by the interpreter, as LiteRT's kernels do.

Annotations tell what an input is needed as: nothing (a tensor as the file lays it out), one of `PERMUTATIONS` (a tensor with its
axes in that order; as the annotation of the return value: the result comes in that order), and `Sizes`, `Known`, `Value` as in
`convkit.interpreters.operators`. A keyword-only parameter `node` receives a `Node`, and one named `order` the order of axes in
which an elementwise operator's operands are given.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from convkit.interpreters.operators import Handler

if TYPE_CHECKING:
    from convkit.interpreters.litert.model import Operator

__all__ = ["PERMUTATIONS", "Arithmetic", "Entry", "operator", "operators"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

PERMUTATIONS = {
    "ChannelsFirst": (0, 3, 1, 2),
    "LastAxisFirst": (3, 0, 1, 2),
    "VolumeChannelsFirst": (0, 4, 1, 2, 3),
    "VolumeKernel": (4, 3, 0, 1, 2),
}
"""Orders of axes that functions ask for: the axis of the file that stands at each position."""

ChannelsFirst = Any
"""NHWC as NCHW, or a kernel of [O, H, W, I] as [O, I, H, W]."""

LastAxisFirst = Any
"""A kernel of [A, H, W, B] as [B, A, H, W]."""

VolumeChannelsFirst = Any
"""NDHWC as NCDHW."""

VolumeKernel = Any
"""A kernel of [D, H, W, I, O] as [O, I, D, H, W]."""


class Arithmetic(Enum):
    """How an operator computes on quantized tensors."""

    REAL = "real"
    LEVELS = "levels"
    ACCUMULATED = "accumulated"


@dataclass(frozen=True)
class Entry:
    """One operator.

    Attributes:
        handler: Its function.
        arithmetic: On quantized tensors.
        elementwise: Whether axes can come in any order, as long as they are the same for all operands.
        result: The order of the result's axes, None for the file's.
        accepts: Says why an operator is refused, from its form alone.
        foldable: Whether it is computed beforehand where all its inputs are constants.
        operands: Which inputs' products an `ACCUMULATED` operator sums.
    """

    handler: Handler
    arithmetic: Arithmetic
    elementwise: bool
    result: tuple[int, ...] | None
    accepts: Callable[[Operator], str | None] | None
    foldable: bool
    operands: tuple[int, int]

    def refusal(self, node: Operator) -> str | None:
        """Why an operator cannot be computed as far as its form tells; None where it can."""
        handler = self.handler
        if not handler.variadic and len(node.inputs) > len(handler.inputs):
            return f"{len(node.inputs)} inputs, and the importer knows {len(handler.inputs)}"
        if sum(v is not None for v in node.inputs) < handler.required:
            return f"{len(node.inputs)} inputs, and it needs {handler.required}"
        unknown = set(node.options) - handler.attributes - _HANDLED
        if unknown:
            return f"the importer does not know the option {', '.join(sorted(unknown))}"
        return None if self.accepts is None else self.accepts(node)


_HANDLED = frozenset(("fused_activation_function", "quantized_bias_type", "pot_scale_int16"))
"""Options that the interpreter sees to, or that say nothing that the tensors do not."""


class Operators:
    """The table."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def __call__(
        self,
        *names: str,
        arithmetic: Arithmetic = Arithmetic.REAL,
        elementwise: bool = False,
        accepts: Callable[[Operator], str | None] | None = None,
        foldable: bool = True,
        operands: tuple[int, int] = (0, 1),
    ) -> Callable[[_Function], _Function]:
        """Registers a function for operators; the arguments are those of `Entry`.

        Raises:
            ValueError: One of them is registered already.
        """

        def register(function: _Function) -> _Function:
            result = PERMUTATIONS.get(str(function.__annotations__.get("return")))
            entry = Entry(Handler.of(function), arithmetic, elementwise, result, accepts, foldable, operands)
            for name in names:
                if name in self._entries:
                    raise ValueError(f"{name} is registered twice")
                self._entries[name] = entry
            return function

        return register

    def find(self, name: str) -> Entry | None:
        """The operator of that name, None where there is none."""
        return self._entries.get(name)

    def names(self) -> list[str]:
        """Every registered operator."""
        return sorted(self._entries)


operator = Operators()


@cache
def operators() -> Operators:
    """The table, with every family registered."""
    package = importlib.import_module("convkit.interpreters.litert.operators")
    for info in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{info.name}")
    return operator
