"""What converters and runtimes declare about themselves, so that a plan needs no framework.

A converter or a runtime is one module. Its top level holds a descriptor (`CONVERTER` or `RUNTIME`) and imports no
framework; the functions that do the work are called in a worker process and import what they need themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from convkit.artifact import Artifact
from convkit.formats import Format, Variant
from convkit.signature import Signature

if TYPE_CHECKING:
    import numpy as np

    from convkit.reports.document import Document

__all__ = [
    "ONNX_HOST",
    "ConversionOutcome",
    "ConversionRequest",
    "Converter",
    "EmissionOutcome",
    "EmissionRequest",
    "Emitter",
    "Face",
    "Host",
    "Metric",
    "Option",
    "Origin",
    "OutputKind",
    "Runtime",
    "Session",
    "Tracer",
    "Variation",
]


@dataclass(frozen=True)
class Host:
    """The worker process that a component runs in.

    Components with an equal `toolchain` and `group` share one warm process; groups keep frameworks apart that must not
    meet (a target's runtime must not profit from what the converter's process has loaded).

    Attributes:
        toolchain: "main" (the interpreter that runs convkit) or the name of a provisioned toolchain.
        group: The process within the toolchain: "torch", "tensorflow", "onnxruntime", "litert", "executorch", …
        preload: Modules that the worker imports as soon as it starts, while the parent still plans.
        packages: Distributions whose versions belong in the report and that must be installed; the first is the one
            that the route names.
        tools: Node toolchains that the process starts Node with; installed at first use.
    """

    group: str
    preload: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    toolchain: str = "main"
    tools: tuple[str, ...] = ()


ONNX_HOST = Host(
    "onnx",
    preload=(
        "convkit.workers.onnx_only",
        "convkit.legalization.onnx.surveying",
        "convkit.interpreters.pytorch.table",
        "convkit.interpreters.tensorflow.table",
    ),
    packages=("onnx", "onnx-ir"),
)


@dataclass(frozen=True)
class Option:
    """An option of a converter (`--option opset=18`): its name, what it does, its default."""

    name: str
    help: str
    default: Any = None


@dataclass(frozen=True)
class Converter:
    """One directed edge between two variants.

    Attributes:
        name: Unique, in the field's words, for example "litert-torch".
        sources: The variants that it reads.
        target: The variant that it writes.
        host: Where it runs.
        cost: Relative preference for the planner: 1 is the best direct converter, higher is a fallback.
        reason: Why the planner should prefer or avoid it, one clause, shown by `convkit plan`.
        options: What it can be told.
        keeps_dynamic: Whether dynamic dimensions survive.
        is_importer: Whether it only brings a model into a hub's form, in seconds; `check` takes such a step to see what the
            next converter is given.
        static_host: Where its `survey(request)` says without its framework what `check(request)` takes a conversion to say for
            certain; None where `check` is as quick.
        module: Set by the registry: the module that holds `convert(request)` and, optionally, `check(request)` and
            `survey(request)`.
    """

    name: str
    sources: tuple[Variant, ...]
    target: Variant
    host: Host
    cost: float = 1.0
    reason: str = ""
    options: tuple[Option, ...] = ()
    keeps_dynamic: bool = True
    is_importer: bool = False
    static_host: Host | None = None
    module: str = ""


class Variation(StrEnum):
    """Another way to compute the same outputs, whose roundings are others: what moves by it is noise."""

    WEIGHTS = "weights"
    """Weights moved by half a last bit."""
    THREADS = "threads"
    """Another number of threads."""
    REPEAT = "repeat"
    """The same once more; every runtime can."""
    FLOAT64 = "float64"
    """All of it in float64; inputs and outputs of other floating dtypes are taken and given in that."""


@dataclass(frozen=True)
class Runtime:
    """What runs the models of a format.

    Attributes:
        name: As in reports, for example "ONNX Runtime".
        variants: What it loads.
        host: Where it runs.
        module: Set by the registry: the module that holds `load(artifact, **settings) -> Session`.
        settings: What `load` is told beside the artifact.
        variations: What `load` can be told as `variation="weights"`, …: it then gives a session that computes so, and raises
            ConversionError for a model that it cannot do that with.
    """

    name: str
    variants: tuple[Variant, ...]
    host: Host
    module: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    variations: tuple[Variation, ...] = ()

    @property
    def format(self) -> Format:
        return self.variants[0].format


@dataclass(frozen=True)
class Tracer:
    """What tells every tensor inside a model while it runs.

    Attributes:
        name: As in reports.
        variants: What it traces.
        host: Where it runs.
        module: Set by the registry: the module that holds `trace(artifact, feeds, record)`, which runs a model once and tells
            a `convkit.traces.Recorder` its operators and tensors.
        settings: Further arguments of `trace`.
    """

    name: str
    variants: tuple[Variant, ...]
    host: Host
    module: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Emitter:
    """Writes something for people to read beside a converted model.

    Attributes:
        name: As in `--emit python`.
        source: The variant that it reads.
        host: Where it runs.
        help: What it writes, one clause.
        module: Set by the registry: the module that holds `files(output) -> tuple[Path, ...]`, which says what it writes
            beside a model, and `emit(request)`.
    """

    name: str
    source: Variant
    host: Host
    help: str
    module: str = ""


@dataclass(frozen=True)
class Face:
    """A way to show a report.

    Attributes:
        name: For people.
        suffixes: `--report out.<suffix>` picks the face; the first is the usual one.
        render: From the document to the text of the file.
    """

    name: str
    suffixes: tuple[str, ...]
    render: Callable[[Document], str]


class OutputKind(StrEnum):
    """What an output is, as far as its metrics go."""

    VALUES = "values"
    SCORES = "class scores"
    TOKEN_LOGITS = "token logits"
    PIXEL_SCORES = "class scores per pixel"
    MASK = "mask"
    LABELS = "labels"
    BOXES = "boxes"


@dataclass(frozen=True)
class Metric:
    """A way to say how well an output agrees, beside the size of its difference.

    Attributes:
        name: As in `--metric logits=top-k`, and in reports where it has one value.
        help: What it says, one clause.
        kinds: The outputs that it is computed for without being asked.
        compute: From the source's array and the target's, of one shape, to a number, a mapping of names to numbers, or None where
            it says nothing of them.
    """

    name: str
    help: str
    kinds: tuple[OutputKind, ...]
    compute: Callable[[np.ndarray, np.ndarray], float | Mapping[str, float] | None]


class Session(Protocol):
    """A loaded model that runs on numpy arrays; lives in a worker.

    One whose runs depend on those before says so by an attribute `keeps_state`: it is loaded anew where runs begin again.
    """

    @property
    def signature(self) -> Signature:
        """The signature as the runtime sees it."""

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Runs once. `feeds` has one array per input name; the result one array per output name, in order."""


@dataclass(frozen=True)
class ConversionRequest:
    """What a converter is asked to do.

    Attributes:
        source: What to read; never written to.
        output: The file or directory to write; does not exist yet.
        signature: The contract: the names, order, dtypes and dynamic dimensions that the output must have. None only
            for a capture whose source records none.
        examples: An `.npz` with one example array per input name, None where there are none.
        options: The converter's options by name.
    """

    source: Artifact
    output: Path
    signature: Signature | None
    examples: Path | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "source": self.source.to_json(),
            "output": str(self.output),
            "signature": None if self.signature is None else self.signature.to_json(),
            "examples": None if self.examples is None else str(self.examples),
            "options": dict(self.options),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConversionRequest:
        signature, examples = data["signature"], data["examples"]
        return cls(
            Artifact.from_json(data["source"]),
            Path(data["output"]),
            None if signature is None else Signature.from_json(signature),
            None if examples is None else Path(examples),
            data["options"],
        )


@dataclass(frozen=True)
class ConversionOutcome:
    """What a converter says when it is done.

    Attributes:
        notes: What the user should know: work-arounds applied, edges changed, assumptions.
    """

    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {"notes": list(self.notes)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConversionOutcome:
        return cls(tuple(data["notes"]))


@dataclass(frozen=True)
class Origin:
    """What a converted model was made of, as an emitter writes it down.

    Attributes:
        file: The source's name.
        kind: What it is ("ONNX").
        digest: Of its content.
        route: The converters that it came through.
    """

    file: str
    kind: str
    digest: str
    route: tuple[str, ...]


@dataclass(frozen=True)
class EmissionRequest:
    """What an emitter is asked to do.

    Attributes:
        artifact: The converted model with its signature; what is emitted goes beside it.
        origin: What it was made of.
        inputs: `.npz` files with one array per input name, to prove what was written on.
    """

    artifact: Artifact
    origin: Origin
    inputs: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "artifact": self.artifact.to_json(),
            "origin": {**vars(self.origin), "route": list(self.origin.route)},
            "inputs": [str(i) for i in self.inputs],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EmissionRequest:
        origin = Origin(**{**data["origin"], "route": tuple(data["origin"]["route"])})
        return cls(Artifact.from_json(data["artifact"]), origin, tuple(Path(i) for i in data["inputs"]))


@dataclass(frozen=True)
class EmissionOutcome:
    """What an emitter says when it is done: how it proved what it wrote, and what the user should know."""

    notes: tuple[str, ...] = ()
