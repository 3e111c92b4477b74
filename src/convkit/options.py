"""What a conversion can be told; the command line and the API fill the same object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.errors import UsageError
from convkit.formats import Format
from convkit.signature import TensorSpec

if TYPE_CHECKING:
    from convkit.validators.own_metrics import MetricRequest

__all__ = ["ConvertOptions", "InputOptions", "Normalisation"]


@dataclass(frozen=True)
class Normalisation:
    """How pixels become a model's input: (pixel / 255 − mean) / std, one value or one per channel."""

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        # Means of 0 to 255 are told from means of 0 to 1 by nothing but their size: only one of the two is taken.
        if not self.mean or not all(-1 <= m <= 1 for m in self.mean):
            raise UsageError(f"the mean {self.mean} is not of pixels from 0 to 1", hint="divide it by 255")
        if not self.std or not all(0 < s <= 2 for s in self.std):
            raise UsageError(f"the standard deviation {self.std} is not of pixels from 0 to 1", hint="divide it by 255")


@dataclass(frozen=True)
class InputOptions:
    """What the user says of a model's inputs.

    Attributes:
        specs: `--input`: shapes for models that record none.
        arrays: `--inputs`: real inputs, see `convkit.samples`: a file, or a folder of files or images.
        dynamic: `--dynamic image:0=batch`: input → axis → symbol.
        output_names: `--output-names`: for models that name no outputs.
        normalisation: `--image-mean` and `--image-std`: for images whose normalisation the model's file does not tell.
    """

    specs: tuple[TensorSpec, ...] = ()
    arrays: Path | None = None
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    output_names: tuple[str, ...] | None = None
    normalisation: Normalisation | None = None


@dataclass(frozen=True)
class ConvertOptions:
    """Everything but the model and the target.

    Attributes:
        output: Where to write; None for the model's name with the target's suffix, in the working directory.
        inputs: See `InputOptions`.
        via: A format that the route must pass through.
        route: The names of the converters to take, in order; None to let the planner choose.
        validate: Run both sides and compare.
        allow_drift: Write the artifact although it drifts.
        force: Overwrite the output.
        ignore_gaps: Try routes that `check` finds gaps on.
        tolerance: Relative tolerance in place of the derived one, for all outputs (key "") or by name.
        metrics: The user's own metrics.
        seeds: Random input sets per validation.
        stress: Validate on inputs that find bugs too.
        count_non_finite: Of these, count differences in how NaN and infinity spread.
        failing: Where to write the inputs on which the models differ, shrunk; None for the cache directory.
        shrink: Whether to look for these.
        timeout: Seconds that one stage may take; None for no limit.
        converter_options: Converter options by name (`--option opset=18`), for every converter that has that option.
        install: Provision a missing toolchain at first use.
        emit: The names of the emitters whose files to write beside the output.
    """

    output: Path | None = None
    inputs: InputOptions = field(default_factory=InputOptions)
    via: Format | None = None
    route: tuple[str, ...] | None = None
    validate: bool = True
    allow_drift: bool = False
    force: bool = False
    ignore_gaps: bool = False
    tolerance: Mapping[str, float] = field(default_factory=dict)
    metrics: tuple[MetricRequest, ...] = ()
    seeds: int = 3
    stress: bool = False
    count_non_finite: bool = False
    failing: Path | None = None
    shrink: bool = True
    timeout: float | None = None
    converter_options: Mapping[str, Any] = field(default_factory=dict)
    install: bool = True
    emit: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The part that a report records: what changes the result."""
        return {
            "via": None if self.via is None else self.via.value,
            "route": None if self.route is None else list(self.route),
            "validate": self.validate,
            "allow_drift": self.allow_drift,
            "tolerance": dict(self.tolerance),
            "metrics": [str(m) for m in self.metrics],
            "seeds": self.seeds,
            "stress": self.stress,
            "converter_options": dict(self.converter_options),
            "emit": list(self.emit),
        }
