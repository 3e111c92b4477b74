"""What a conversion can be told; the command line and the API fill the same object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convkit.formats import Format
from convkit.signature import TensorSpec

__all__ = ["ConvertOptions", "InputOptions"]


@dataclass(frozen=True)
class InputOptions:
    """What the user says of a model's inputs.

    Attributes:
        specs: `--input`: shapes for models that record none.
        arrays: `--inputs`: an `.npz` with real inputs, by name or by position ("0", "1", …).
        dynamic: `--dynamic image:0=batch`: input → axis → symbol.
        output_names: `--output-names`: for models that name no outputs.
    """

    specs: tuple[TensorSpec, ...] = ()
    arrays: Path | None = None
    dynamic: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    output_names: tuple[str, ...] | None = None


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
        seeds: Random input sets per validation.
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
    seeds: int = 3
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
            "seeds": self.seeds,
            "converter_options": dict(self.converter_options),
            "emit": list(self.emit),
        }
