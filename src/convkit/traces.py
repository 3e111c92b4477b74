"""What a tracer records of one run of a model: the graph's operators, and the tensors between them.

Tensors go to a file as they are computed and come back as windows on it, so that a trace takes memory for one tensor at a
time, on both sides of a comparison. What matching needs of all tensors at once is in their sketches.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

__all__ = ["Recorder", "Sketch", "Trace", "TracedOperator", "TracedTensor", "fetched", "sketch_of"]

_INDEX = "trace.json"
_VALUES = "values.bin"
_ALIGNMENT = 64
_FIRST_FEW = 8
_RANDOM = ("rand", "multinomial", "bernoulli", "dropout", "aten.normal")
Wanted = TypeVar("Wanted")
_LARGEST_CONSTANT = 1 << 23
"""Bytes up to which weights are recorded: what a cause is told from, at the operator that is to blame."""


@dataclass(frozen=True)
class Sketch:
    """Moments of a tensor that no permutation of its axes changes; of finite values only.

    Attributes:
        size: Elements, finite or not.
        finite: Finite elements.
        low, high: The least and the largest value.
        mean, magnitude, rms: The means of x, of |x|, and the root of that of x².
    """

    size: int
    finite: int
    low: float = 0.0
    high: float = 0.0
    mean: float = 0.0
    magnitude: float = 0.0
    rms: float = 0.0


def sketch_of(array: np.ndarray) -> Sketch:
    """The sketch of a tensor of numbers or booleans."""
    flat = array.reshape(-1)
    if flat.dtype.kind == "c":
        flat = np.abs(flat)
    if flat.dtype.kind == "f":
        finite = np.isfinite(flat)
        if not finite.all():
            flat = flat[finite]
    if not flat.size:
        return Sketch(array.size, 0)
    # float32 sums by pairs are good to a few last bits, and half the time of float64 ones.
    wide = flat if flat.dtype == np.float32 else flat.astype(np.float64)
    with np.errstate(over="ignore"):
        squares = float(np.dot(wide, wide))
    if not np.isfinite(squares):
        squares = float(np.sum(np.square(flat.astype(np.float64))))
    return Sketch(
        array.size,
        flat.size,
        float(wide.min()),
        float(wide.max()),
        float(wide.mean(dtype=np.float64)),
        float(np.abs(wide).mean(dtype=np.float64)),
        float(np.sqrt(squares / flat.size)),
    )


@dataclass(frozen=True)
class TracedOperator:
    """One operator of a graph.

    Attributes:
        name: As the model's own format knows it.
        operator: Its kind, in the format's spelling.
        inputs, outputs: Names of tensors, in the operator's order; "" where an optional one is absent.
        attributes: What its arguments beside tensors are, as far as they are numbers, strings, or lists of them.
        place: Module path and source line, where the model records them.
    """

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""


@dataclass(frozen=True)
class TracedTensor:
    """One tensor of a trace.

    Attributes:
        name: As the format knows it.
        dtype, shape: Of the recorded array.
        offset: Where its values start in the trace's file, -1 where they were not recorded.
        sketch: Of its values.
        constant: Whether it is the same in every run.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    sketch: Sketch
    constant: bool = False


class Recorder:
    """Writes a trace into a directory, tensor by tensor.

    Args:
        directory: An existing directory of this trace alone.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._values = (directory / _VALUES).open("wb")
        self._tensors: dict[str, TracedTensor] = {}
        self._operators: list[TracedOperator] = []
        self._makers: dict[str, TracedOperator] = {}
        self._notes: list[str] = []
        self._edges: dict[str, list[tuple[str, str]]] = {}

    def operator(self, operator: TracedOperator) -> None:
        """Records an operator; operators come in an order in which they can run, before the tensors that they make."""
        self._operators.append(operator)
        self._makers.update(dict.fromkeys(operator.outputs, operator))

    def tensor(self, name: str, array: np.ndarray, constant: bool = False) -> None:
        """Records the values of a tensor; the first record of a name counts, and strings are not recorded.

        What is computed from constants alone is one as well: converters compute it beforehand.
        """
        if name in self._tensors or array.dtype.kind not in "fiubc":
            return
        constant = constant or self._is_constant(name)
        offset = -1
        if not constant or array.nbytes <= _LARGEST_CONSTANT:
            self._values.seek(-(-self._values.tell() // _ALIGNMENT) * _ALIGNMENT)
            offset = self._values.tell()
            np.ascontiguousarray(array).tofile(self._values)
        shape = tuple(int(n) for n in array.shape)
        self._tensors[name] = TracedTensor(name, array.dtype.name, shape, offset, sketch_of(array), constant)

    def _is_constant(self, name: str) -> bool:
        maker = self._makers.get(name)
        if maker is None or any(word in maker.operator.lower() for word in _RANDOM):
            return False
        return all(n in self._tensors and self._tensors[n].constant for n in maker.inputs if n)

    def edges(self, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> None:
        """Says which tensors are the model's inputs and outputs: names of the signature to names of tensors."""
        self._edges = {"inputs": list(inputs.items()), "outputs": list(outputs.items())}

    def note(self, text: str) -> None:
        """Records what a reader of the comparison should know of this trace."""
        self._notes.append(text)

    def close(self) -> None:
        """Writes the index; the trace can be opened now."""
        self._values.close()
        index = {
            "operators": [asdict(o) for o in self._operators],
            "tensors": [asdict(t) for t in self._tensors.values()],
            "notes": self._notes,
            **self._edges,
        }
        (self._directory / _INDEX).write_text(json.dumps(index))


def fetched(
    wanted: Sequence[Wanted], fetch: Callable[[Sequence[Wanted]], Sequence[tuple[str, np.ndarray]]], budget: int = 256 << 20
) -> Iterator[tuple[str, np.ndarray]]:
    """The tensors of a runtime that hands out what it is asked for, a few per run.

    Args:
        wanted: What to ask for, in an order in which it is computed.
        fetch: Runs the model, and returns names and values of some of it.
        budget: Bytes of tensors in memory at a time, as far as the ones before tell how large those behind are.
    """
    count = _FIRST_FEW
    while wanted:
        chosen, wanted = wanted[:count], wanted[count:]
        found = fetch(chosen)
        yield from found
        mean = sum(array.nbytes for _, array in found) // max(1, len(found)) + 1
        count = max(1, min(4 * count, budget // mean))


@dataclass(frozen=True)
class Trace:
    """A recorded run, opened.

    Attributes:
        operators: In an order in which they ran.
        tensors: By name.
        inputs, outputs: The tensors of the model's signature, by its names.
        notes: What to know of it.
    """

    operators: tuple[TracedOperator, ...]
    tensors: Mapping[str, TracedTensor]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    notes: tuple[str, ...]
    _values: Path

    @classmethod
    def open(cls, directory: Path) -> Trace:
        """Opens what a `Recorder` wrote into that directory."""
        index = json.loads((directory / _INDEX).read_text())
        tensors = [TracedTensor(**{**t, "shape": tuple(t["shape"]), "sketch": Sketch(**t["sketch"])}) for t in index["tensors"]]
        operators = [
            TracedOperator(**{**o, "inputs": tuple(o["inputs"]), "outputs": tuple(o["outputs"])}) for o in index["operators"]
        ]
        return cls(
            tuple(operators),
            {t.name: t for t in tensors},
            dict(index.get("inputs", ())),
            dict(index.get("outputs", ())),
            tuple(index["notes"]),
            directory / _VALUES,
        )

    def array(self, name: str) -> np.ndarray | None:
        """The values of a tensor, None where they were not recorded."""
        tensor = self.tensors.get(name)
        if tensor is None or tensor.offset < 0:
            return None
        if not tensor.sketch.size:
            return np.zeros(tensor.shape, tensor.dtype)
        return np.memmap(self._values, tensor.dtype, "r", tensor.offset, tensor.shape or (1,)).reshape(tensor.shape)
