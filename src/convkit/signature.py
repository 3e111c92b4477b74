"""What a model takes and gives: ordered, named tensors with symbolic dimensions.

A dimension is an `int` (static) or a `str` (dynamic: "batch"). Formats that cannot name a dynamic dimension
(LiteRT, SavedModel) get generated names from `dynamic_dim`; names are compared by *being dynamic*, not by spelling.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from convkit.errors import UsageError

__all__ = ["Dim", "Signature", "TensorSpec", "dynamic_dim", "parse_spec"]

Dim = int | str

# numpy's names are the project's dtype names; torch, TF and ONNX agree with them up to these aliases.
_DTYPES = frozenset(
    (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "int4", "uint4"),
        *("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2", "complex64", "complex128"),
        *("string", "resource", "variant"),
    )
)
_DTYPE_ALIASES = {"float": "float32", "double": "float64", "half": "float16", "int": "int32", "long": "int64"}

_SPEC = re.compile(r"^(?P<name>[^:\[\]]+)(?::(?P<dtype>[a-z][a-z0-9_]*))?(?P<shape>\[[^\[\]]*\])?$")
_DIM = re.compile(r"^[A-Za-z_]\w*$")


def dynamic_dim(tensor: str, axis: int) -> str:
    """A readable symbol for a dynamic dimension that its format cannot name."""
    return "batch" if axis == 0 else re.sub(r"\W", "_", f"{tensor}_dim{axis}")


@dataclass(frozen=True)
class TensorSpec:
    """One input or output: its name, numpy dtype name and shape (None where the rank is unknown)."""

    name: str
    dtype: str
    shape: tuple[Dim, ...] | None

    def __str__(self) -> str:
        shape = "[?]" if self.shape is None else "[" + ",".join(map(str, self.shape)) + "]"
        return f"{self.name}: {self.dtype}{shape}"

    @property
    def dynamic_dims(self) -> tuple[str, ...]:
        """The symbols of the dynamic dimensions, in order of their axes."""
        return tuple(d for d in self.shape or () if isinstance(d, str))

    @property
    def array_dtype(self) -> str:
        """The dtype that an array holds its values in: numpy has no bfloat16."""
        return "float32" if self.dtype == "bfloat16" else self.dtype

    def concrete(self, sizes: Mapping[str, int], default: int = 2) -> tuple[int, ...]:
        """The shape with every symbol replaced by its size."""
        return tuple(d if isinstance(d, int) else sizes.get(d, default) for d in self.shape or ())

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "dtype": self.dtype, "shape": None if self.shape is None else list(self.shape)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TensorSpec:
        shape = data["shape"]
        return cls(data["name"], data["dtype"], None if shape is None else tuple(shape))


@dataclass(frozen=True)
class Signature:
    """The ordered inputs and outputs of a model (or of one method of it)."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    name: str = "serving_default"

    def __str__(self) -> str:
        return ", ".join(map(str, self.inputs)) + " → " + ", ".join(map(str, self.outputs))

    @property
    def input_names(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.inputs)

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(t.name for t in self.outputs)

    @property
    def dynamic_dims(self) -> tuple[str, ...]:
        """The distinct symbols of all inputs, in order of first appearance."""
        return tuple(dict.fromkeys(d for t in self.inputs for d in t.dynamic_dims))

    def tied(self) -> Signature:
        """The same tensors with one symbol for all dynamic dimensions on one axis of the inputs.

        For formats that cannot say that the lengths of two inputs are one: most often they are.
        """
        same: dict[str, Dim] = {}
        first: dict[int, Dim] = {}
        for spec in self.inputs:
            for axis, dim in enumerate(spec.shape or ()):
                if isinstance(dim, str):
                    same.setdefault(dim, first.setdefault(axis, dim))

        def renamed(spec: TensorSpec) -> TensorSpec:
            return replace(spec, shape=spec.shape and tuple(same.get(d, d) if isinstance(d, str) else d for d in spec.shape))

        return replace(self, inputs=tuple(map(renamed, self.inputs)), outputs=tuple(map(renamed, self.outputs)))

    def renamed(self, inputs: Iterable[str], outputs: Iterable[str]) -> Signature:
        """The same tensors under other names (same count, else ValueError)."""
        return replace(
            self,
            inputs=tuple(replace(t, name=n) for t, n in zip(self.inputs, inputs, strict=True)),
            outputs=tuple(replace(t, name=n) for t, n in zip(self.outputs, outputs, strict=True)),
        )

    def differences(self, other: Signature) -> list[str]:
        """How `other` departs from this signature, one sentence each; empty when it is kept.

        Names, order, dtypes, ranks, static sizes and *which* dimensions are dynamic count; the spelling of a
        dynamic dimension does not, because LiteRT and SavedModel cannot hold one.
        """
        found: list[str] = []
        for role, mine, theirs in (("input", self.inputs, other.inputs), ("output", self.outputs, other.outputs)):
            names, got = [t.name for t in mine], [t.name for t in theirs]
            if len(names) != len(got):
                found.append(f"{len(got)} {role}s where the source has {len(names)}")
                continue
            if names != got:
                what = "order of the" if sorted(names) == sorted(got) else "names of the"
                found.append(f"{what} {role}s changed: {', '.join(names)} became {', '.join(got)}")
            by_name = {t.name: t for t in theirs}
            for position, spec in enumerate(mine):
                found.extend(_tensor_differences(role, spec, by_name.get(spec.name, theirs[position])))
        return found

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "inputs": [t.to_json() for t in self.inputs],
            "outputs": [t.to_json() for t in self.outputs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Signature:
        return cls(
            tuple(TensorSpec.from_json(t) for t in data["inputs"]),
            tuple(TensorSpec.from_json(t) for t in data["outputs"]),
            data.get("name", "serving_default"),
        )


def _tensor_differences(role: str, mine: TensorSpec, theirs: TensorSpec) -> list[str]:
    found = []
    if mine.dtype != theirs.dtype:
        found.append(f"{role} '{mine.name}' is {theirs.dtype}, the source's is {mine.dtype}")
    if mine.shape is None or theirs.shape is None:
        return found
    pattern, found_pattern = ([None if isinstance(d, str) else d for d in t.shape or ()] for t in (mine, theirs))
    if pattern != found_pattern:
        was, now = (",".join(map(str, t.shape or ())) for t in (mine, theirs))
        found.append(f"{role} '{mine.name}' has shape [{now}], the source's is [{was}]")
    return found


def parse_spec(text: str) -> TensorSpec:
    """Parses `name:dtype[dim,…]`, for example ``image:float32[batch,3,224,224]``.

    A name in place of a number makes the dimension dynamic; `-1`, `?` and `*` do so with a generated name. The dtype
    defaults to float32; `[]` is a scalar.

    Raises:
        UsageError: with the part that does not parse.
    """
    match = _SPEC.match(text.strip())
    if not match or match["shape"] is None:
        raise UsageError(
            f"cannot read the input specification {text!r}",
            hint="write name:dtype[dim,…], for example --input image:float32[batch,3,224,224]",
        )
    dtype = match["dtype"] or "float32"
    dtype = _DTYPE_ALIASES.get(dtype, dtype)
    if dtype not in _DTYPES:
        raise UsageError(f"unknown dtype {dtype!r} in {text!r}", hint="use a numpy dtype name such as float32 or int64")
    name = match["name"].strip()
    dims: list[Dim] = []
    inner = match["shape"][1:-1].strip()
    for axis, part in enumerate(inner.split(",") if inner else []):
        part = part.strip()
        if part in {"-1", "?", "*"}:
            dims.append(dynamic_dim(name, axis))
        elif part.isdigit():
            dims.append(int(part))
        elif _DIM.match(part):
            dims.append(part)
        else:
            raise UsageError(
                f"cannot read dimension {part!r} in {text!r}",
                hint="a dimension is a number, or a name for a dynamic one",
            )
    return TensorSpec(name, dtype, tuple(dims))
