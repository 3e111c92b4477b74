"""An immutable reference to a model on disk, and what a reader can tell of it without a framework."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convkit.formats import Format, Variant
from convkit.signature import Signature

__all__ = ["Artifact", "ModelInfo", "PyTorchSource", "digest_of", "size_of"]


@dataclass(frozen=True)
class PyTorchSource:
    """How to get a module out of PyTorch files that do not hold a whole program.

    Attributes:
        factory: `package.module:function` or `path/to/file.py:function`, called without arguments, returns an nn.Module.
        weights: A state dict (`.pt` or `.safetensors`) to load into it.
        trust_pickle: Whether a pickled module may be loaded, which executes whatever code it holds.
    """

    factory: str | None = None
    weights: Path | None = None
    trust_pickle: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "factory": self.factory,
            "weights": None if self.weights is None else str(self.weights),
            "trust_pickle": self.trust_pickle,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> PyTorchSource:
        weights = data.get("weights")
        return cls(data.get("factory"), None if weights is None else Path(weights), bool(data.get("trust_pickle")))


@dataclass(frozen=True)
class Artifact:
    """A model on disk: what it is, where it is, and its signature where that is known.

    `path` is a file, or a directory for SavedModel and TF.js; for a module factory it is the Python file (or the current
    directory for `package.module:function`).
    """

    variant: Variant
    path: Path
    signature: Signature | None = None
    pytorch: PyTorchSource | None = None

    @property
    def format(self) -> Format:
        return self.variant.format

    def with_signature(self, signature: Signature | None) -> Artifact:
        return replace(self, signature=signature)

    def to_json(self) -> dict[str, Any]:
        return {
            "variant": self.variant.value,
            "path": str(self.path),
            "signature": None if self.signature is None else self.signature.to_json(),
            "pytorch": None if self.pytorch is None else self.pytorch.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Artifact:
        signature, pytorch = data.get("signature"), data.get("pytorch")
        return cls(
            Variant(data["variant"]),
            Path(data["path"]),
            None if signature is None else Signature.from_json(signature),
            None if pytorch is None else PyTorchSource.from_json(pytorch),
        )


@dataclass(frozen=True)
class ModelInfo:
    """What `convkit inspect` prints: read from the file itself, no framework involved.

    Attributes:
        variant: What the file is.
        path: Where it is.
        size: Bytes on disk, external data and shards included.
        signatures: One per method or signature of the file; empty where the file records none (state dicts,
            scripted TorchScript).
        operators: Operator name to count, subgraphs and function bodies included. Names are the format's own: `Conv`
            (ONNX; `domain::Conv` outside the default domain), `CONV_2D` (LiteRT), `aten.conv2d.default` (PyTorch, ExecuTorch),
            `Conv2D` (SavedModel, TF.js graph), layer classes (Keras, TF.js layers).
        parameters: Number of weight elements, None where it cannot be told.
        metadata: Further facts in order (opset, producer, IR version, quantization, delegates, …).
        requires: What it needs to run ("ONNX Runtime ≥ …", "custom operator X", "Flex delegate").
        notes: Things that a user should know (no shapes recorded, pickle inside, …).
        has_examples: Whether the file keeps example inputs.
    """

    variant: Variant
    path: Path
    size: int
    signatures: tuple[Signature, ...] = ()
    operators: Mapping[str, int] = field(default_factory=dict)
    parameters: int | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    requires: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    has_examples: bool = False

    @property
    def format(self) -> Format:
        return self.variant.format

    @property
    def signature(self) -> Signature | None:
        """The first signature, the one that a conversion keeps unless told otherwise."""
        return self.signatures[0] if self.signatures else None

    def to_json(self) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "format": self.format.value,
            "variant": self.variant.value,
            "path": str(self.path),
            "size": self.size,
            "signatures": [s.to_json() for s in self.signatures],
            "operators": dict(sorted(self.operators.items())),
            "parameters": self.parameters,
            "metadata": dict(self.metadata),
            "requires": list(self.requires),
            "notes": list(self.notes),
            "has_examples": self.has_examples,
        }


def _files(path: Path) -> list[Path]:
    """The files of a model: all below a directory; a file, and the external data that exporters put beside it."""
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    data = path.with_name(f"{path.name}.data")
    return [path, data] if data.is_file() else [path]


def size_of(path: Path) -> int:
    """Bytes of a file with its external data, or of all files below a directory."""
    return sum(p.stat().st_size for p in _files(path))


def digest_of(path: Path) -> str:
    """`sha256:…` of a file's content; of relative names and contents in order where a model is several files."""
    total = hashlib.sha256()
    files = _files(path)
    base = path if path.is_dir() else path.parent
    for file in files:
        if path.is_dir() or len(files) > 1:
            total.update(f"{file.relative_to(base).as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return f"sha256:{total.hexdigest()}"
