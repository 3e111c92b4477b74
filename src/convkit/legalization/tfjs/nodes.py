"""What a rewrite sees of a source graph: one operation, the values that reach it, and how it says no."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

__all__ = ["Handle", "Known", "Node", "RefusedError", "Value", "at_node"]


class RefusedError(Exception):
    """An operator that TF.js cannot be given.

    Attributes:
        operator, place: Of the node that it is about; set once, by the innermost node.
        reason: One clause.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.operator = ""
        self.place = ""


@dataclass(frozen=True, eq=False)
class Known:
    """A value that is known before the model runs, in the dtype of the source graph.

    Attributes:
        array: The value.
        name: Of the node that it comes from.
    """

    array: np.ndarray
    name: str = ""


@dataclass(frozen=True, eq=False)
class Handle:
    """The resource of a variable, which is read once and never changes."""

    known: Known


Value = Any
"""A symbolic tensor of the new graph, a `Known`, a `Handle`."""


@dataclass(frozen=True)
class Node:
    """One operation of the source graph.

    Attributes:
        operation: The `tf.Operation`.
        inputs: Its data inputs as values.
        notes: What a rewrite wants the user to know; shared by all nodes of a graph.
    """

    operation: Any
    inputs: tuple[Value, ...]
    notes: list[str] = field(default_factory=list)

    @property
    def type(self) -> str:
        return str(self.operation.type)

    @property
    def name(self) -> str:
        return str(self.operation.name)

    def attribute(self, key: str) -> Any:
        """An attribute, bytes as text."""
        value = self.operation.get_attr(key)
        return value.decode() if isinstance(value, bytes) else value

    def input_dtype(self, position: int = 0) -> str:
        """The dtype of an input in the source graph, before it was narrowed."""
        return str(self.operation.inputs[position].dtype.base_dtype.name)

    def output_dtype(self, position: int = 0) -> str:
        """The dtype of an output in the source graph, before it was narrowed."""
        return str(self.operation.outputs[position].dtype.base_dtype.name)

    def known(self, position: int) -> np.ndarray:
        """The value of an input that must not depend on the model's inputs.

        Raises:
            RefusedError: It does.
        """
        value = self.inputs[position]
        if not isinstance(value, Known):
            raise RefusedError(f"its input {position} is computed from the model's inputs")
        return value.array


@contextmanager
def at_node(operator: str, place: str) -> Iterator[None]:
    """Puts the node into a refusal that comes from it."""
    try:
        yield
    except RefusedError as error:
        if not error.operator:
            error.operator, error.place = operator, place
        raise
