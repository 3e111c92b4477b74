"""What the values of a method hold while it runs.

A program's values are windows on planned memory. Views of static tensors left no instruction: such a value is never written, and
lies where its base lies. So every location knows which value was written to it last, and a value that was not is read as what
lies there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from convkit.interpreters.executorch.program import Indices, Method, TensorValue
from convkit.interpreters.executorch.tensors import dtype_of, reinterpreted
from convkit.interpreters.operators import UnsupportedError

__all__ = ["Memory"]


class Memory:
    """The values of one method.

    Args:
        method: The method.
        constant: The tensor of a constant, by its index among the values.
        initial: What planned memory holds at first, by location.
    """

    def __init__(
        self, method: Method, constant: Callable[[int], torch.Tensor], initial: Mapping[tuple[int, int], torch.Tensor]
    ) -> None:
        self._method = method
        self._values = method.values
        self._constant = constant
        self._initial = initial
        self._held: dict[int, tuple[Any, int]] = {}
        """What was written to a value, and how often its location had been written to by then."""
        self._latest: dict[tuple[int, int], int] = {}
        self._writes: dict[tuple[int, int], int] = {}

    def read(self, index: int) -> Any:
        """A tensor, a number, or a list of those; None for an argument that is not given.

        Raises:
            UnsupportedError: Nothing was written there.
        """
        value = self._values[index]
        if isinstance(value, Indices):
            return [None if i < 0 else self.read(i) for i in value.items]
        if not isinstance(value, TensorValue):
            return self._held[index][0] if index in self._held else list(value) if isinstance(value, tuple) else value
        found = self.current(index)
        if found is None:
            raise UnsupportedError(f"it reads value {index}, to which nothing was written")
        return found

    def current(self, index: int) -> Any:
        """What a tensor holds; None where nothing was written to its memory."""
        value = self._values[index]
        assert isinstance(value, TensorValue)
        if index in self._held and self._held[index][1] == self._count(value.location if value.byte_count else None):
            return self._held[index][0]
        if value.is_constant:
            return self._constant(index)
        if value.location is None:
            return torch.empty(value.sizes, dtype=dtype_of(value)) if value.byte_count == 0 else None
        held = self._latest.get(value.location)
        if held is not None:
            return self._viewed(held, value)
        found = self._initial.get(value.location)
        return None if found is None else reinterpreted(found, tuple(range(found.ndim)), value)

    def _viewed(self, held: int, wanted: TensorValue) -> torch.Tensor:
        base = self._values[held]
        assert isinstance(base, TensorValue)
        if base.dynamic or wanted.dynamic:
            raise UnsupportedError("it reads memory of dynamic size that was written to as another tensor")
        if (base.scalar_type, base.byte_count) != (wanted.scalar_type, wanted.byte_count):
            raise UnsupportedError("it reads memory that another tensor was written to")
        return reinterpreted(self._held[held][0], base.dim_order, wanted)

    def write(self, index: int, content: Any, base: int | None = None) -> None:
        """Holds what was computed, in the dtype that the program declares.

        Args:
            index: The value.
            content: A tensor, a number or None.
            base: The value that it is a view of; one of the same memory stays as it is.

        Raises:
            UnsupportedError: The tensor does not have the sizes that the program was planned for.
        """
        value = self._values[index]
        if not isinstance(value, TensorValue):
            self._held[index] = (content, 0)
            return
        if not isinstance(content, torch.Tensor):
            content = torch.as_tensor(content)
        wanted = dtype_of(value)
        content = content if content.dtype == wanted else content.to(wanted)
        if not value.dynamic and all(isinstance(s, int) for s in content.shape) and tuple(content.shape) != value.sizes:
            raise UnsupportedError(f"it makes {list(content.shape)} where the program has {list(value.sizes)}")
        # What has no elements (the statistics of a batch norm that trains nothing) shares its place with what has.
        location = value.location if value.byte_count else None
        if location is not None and (base is None or getattr(self._values[base], "location", None) != location):
            self._writes[location] = self._count(location) + 1
            self._latest[location] = index
        self._held[index] = (content, self._count(location))

    def _count(self, location: tuple[int, int] | None) -> int:
        return 0 if location is None else self._writes.get(location, 0)

    def inner(self, given: Mapping[int, Any]) -> Memory:
        """Memory for a branch, which knows nothing but what it is given."""

        def constant(index: int) -> torch.Tensor:
            raise UnsupportedError(f"a branch reads the constant {index} from nowhere")

        found = Memory(self._method, constant, {})
        for index, content in given.items():
            found.write(index, content)
        return found

    def final(self, location: tuple[int, int], like: TensorValue) -> torch.Tensor | None:
        """What lies at a location when all is done, as that tensor; None where nothing was written there."""
        held = self._latest.get(location)
        if held is None:
            return None
        base = self._values[held]
        content = self._held[held][0]
        assert isinstance(base, TensorValue) and isinstance(content, torch.Tensor)
        return content if base.sizes == like.sizes else self._viewed(held, like)
