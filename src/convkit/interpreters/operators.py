"""The table of operators of one framework: which function computes which ONNX operator from which version on.

A function takes an operator's inputs as positional parameters (optional ones default to None) and its attributes as
keyword-only parameters, under ONNX's names and with ONNX's defaults:

    @operator("LeakyRelu")
    def leaky_relu(x, *, alpha=0.01):
        return functional.leaky_relu(x, alpha)

Annotations tell the interpreter what an input is needed as:

* none (or the framework's tensor type): a tensor;
* `Sizes`: a list of ints, some of which may be symbolic; computed by shape arithmetic, never from data;
* `Known`: a numpy array that is known while the graph is traced;
* `Either`: that array where it is known and small, a tensor otherwise;
* `Value`: whatever there is (a tensor, a `Host` array, a list for a sequence, None for an empty optional).

A keyword-only parameter `node` receives the `onnx_ir.Node` (how many outputs are asked for, which types are declared).
An attribute that holds a graph arrives as a `Subgraph`.

What a function cannot do and a node's form tells (attributes, dtypes, known shapes, constant inputs), it says *before* any
node is computed, so that a rewrite can take over: `accepts` names a function of the `onnx_ir.Node` that returns the reason
for a refusal, or None.

    @operator("Resize", since=13, accepts=_interpolates)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from convkit.legalization.codes import Reason

if TYPE_CHECKING:
    import onnx_ir as ir

__all__ = ["Accepts", "Either", "Handler", "Known", "Operators", "Sizes", "UnsupportedError", "Value", "normal_domain"]

_Function = TypeVar("_Function", bound=Callable[..., Any])

Sizes = list[Any]
"""Annotation of a parameter: ints, or the framework's symbolic ints."""

Known = Any
"""Annotation of a parameter: a numpy array whose values are known while tracing."""

Either = Any
"""Annotation of a parameter: a numpy array if its values are known while tracing (and few), a tensor if not."""

Value = Any
"""Annotation of a parameter: taken as it is."""

Accepts = Callable[["ir.Node"], "str | None"]
"""Says why a node is refused; None where it is not."""


class UnsupportedError(Exception):
    """An operator in this form (attribute, dtype, rank, data-dependent argument) has no counterpart. The message says why."""


@dataclass(frozen=True)
class Handler:
    """One registered function.

    Attributes:
        function: Computes the operator.
        inputs: The annotations of its positional parameters, in order.
        variadic: Whether it takes any number of inputs.
        required: How many inputs it needs.
        attributes: The attributes that it knows.
        takes_node: Whether it wants the node.
        accepts: Why a node is refused, None where it is not; itself None where every node is accepted.
    """

    function: Callable[..., Any]
    inputs: tuple[str, ...]
    variadic: bool
    required: int
    attributes: frozenset[str]
    takes_node: bool
    accepts: Accepts | None = None

    @classmethod
    def of(cls, function: Callable[..., Any], accepts: Accepts | None = None) -> Handler:
        inputs, attributes, variadic, required, takes_node = [], set(), False, 0, False
        for parameter in inspect.signature(function).parameters.values():
            if parameter.kind is parameter.KEYWORD_ONLY:
                if parameter.name == "node":
                    takes_node = True
                else:
                    attributes.add(parameter.name)
                continue
            annotation = parameter.annotation if isinstance(parameter.annotation, str) else ""
            inputs.append(annotation.partition(" |")[0])
            variadic = variadic or parameter.kind is parameter.VAR_POSITIONAL
            required += parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL
        return cls(function, tuple(inputs), variadic, required, frozenset(attributes), takes_node, accepts)

    def kind(self, position: int) -> str:
        """What the input at a position is needed as: "", "Sizes", "Known", "Either", "Value" or a type's name."""
        return self.inputs[min(position, len(self.inputs) - 1)] if self.inputs else ""


class Operators:
    """The operators of one framework.

    Attributes:
        name: The framework's name, for messages.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._handlers: dict[tuple[str, str], dict[int, Handler]] = {}

    def __call__(
        self, *names: str, since: int = 1, domain: str = "", accepts: Accepts | None = None
    ) -> Callable[[_Function], _Function]:
        """Registers a function for operators from an opset version on, until the next registered one.

        Args:
            names: The operators.
            since: The opset version.
            domain: The operators' domain.
            accepts: Says why a node is refused (see above).

        Raises:
            ValueError: The operator is registered at that version already.
        """

        def register(function: _Function) -> _Function:
            for name in names:
                versions = self._handlers.setdefault((normal_domain(domain), name), {})
                if since in versions:
                    raise ValueError(f"{self.name}: {name} is registered twice since version {since}")
                versions[since] = Handler.of(function, accepts)
            return function

        return register

    def find(self, domain: str, name: str, opset: int) -> Handler | None:
        """The handler of an operator in an opset, None where there is none."""
        versions = self._handlers.get((normal_domain(domain), name), {})
        fitting = [since for since in versions if since <= opset]
        return versions[max(fitting)] if fitting else None

    def names(self) -> Iterable[tuple[str, str, int]]:
        """Every registered (domain, operator, since-version)."""
        return sorted((domain, name, since) for (domain, name), versions in self._handlers.items() for since in versions)

    def refusal(self, node: ir.Node, opset: int) -> str | None:
        """Why a node cannot be computed as far as its form tells; None where it can."""
        handler = self.find(node.domain, node.op_type, opset)
        if handler is None:
            told = f"the {self.name} importer has no {node.op_type} in opset {opset}"
            known = self._handlers.get((normal_domain(node.domain), node.op_type))
            return Reason(f"{told}, only from {min(known)} on", "CK115") if known else told
        given = sum(1 for value in node.inputs if value is not None)
        if not handler.variadic and len(node.inputs) > len(handler.inputs):
            return f"{len(node.inputs)} inputs, and the {self.name} importer knows {len(handler.inputs)}"
        if given < handler.required:
            return f"{given} inputs, and it needs {handler.required}"
        if unknown := set(node.attributes) - handler.attributes:
            return f"the {self.name} importer does not know the attribute {', '.join(sorted(unknown))}"
        return handler.accepts(node) if handler.accepts is not None else None


def normal_domain(domain: str) -> str:
    """ONNX's own domain has two spellings."""
    return "" if domain == "ai.onnx" else domain
