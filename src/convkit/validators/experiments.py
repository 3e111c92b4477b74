"""Runs the source in other ways, to see what its own outputs move by (see `convkit.validators.noise`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from convkit import readers
from convkit.artifact import Artifact
from convkit.checking import convert_step
from convkit.components import ConversionRequest, Converter, Variation
from convkit.errors import ConvkitError
from convkit.formats import Variant
from convkit.registry import converters, lacking_packages, runtime_for
from convkit.validators import noise
from convkit.validators.judging import Judge
from convkit.validators.trials import Sides

__all__ = ["Experiments", "Reference", "look_closer"]

_IN_FLOAT64 = Variant.EXPORTED_PROGRAM
_MOST_TOLD = 8
"""Input sets far off, for which float64 is computed only to be told."""
_LARGEST = 256 << 20
"""Bytes of a model up to which another one is made of it unasked: in float64 it takes several times its size in memory."""
_REMADE = (Variation.FLOAT64, Variation.WEIGHTS)


@dataclass(frozen=True)
class Reference:
    """The source's outputs in float64, by the number of the input set.

    Attributes:
        wide: In float64.
        narrow: The same program's in its own precision; None where that is the source itself.
    """

    wide: Mapping[int, Path]
    narrow: Mapping[int, Path] | None = None


@dataclass(frozen=True)
class Experiments:
    """The source, and where to run it.

    An experiment that fails tells nothing, and is no error: the comparison stands without it.

    Attributes:
        sides: The source, and what is held against it.
        inputs: One `.npz` per input set, in the order in which the source ran on them.
        scratch: An existing directory for arrays.
        unbounded: Whether models of any size are made anew.
    """

    sides: Sides
    inputs: Sequence[Path]
    scratch: Path
    unbounded: bool = False

    @property
    def source(self) -> Artifact:
        return self.sides.artifacts[0]

    def offers(self, variation: Variation) -> bool:
        """Whether the source's runtime can be told to."""
        if variation in _REMADE and not self.affordable:
            return False
        return variation is Variation.REPEAT or variation in self.sides.runtimes[0].variations

    @cached_property
    def affordable(self) -> bool:
        """Whether a model of this size may be made anew."""
        if self.unbounded or self.source.variant is Variant.MODULE_FACTORY:
            return True
        return readers.inspect(self.source.path).size <= _LARGEST

    def varied(self, variation: Variation, wanted: Sequence[int]) -> dict[int, Path]:
        """The source's outputs under a variation, for the input sets of these numbers, as far as it runs."""
        return self._run(self.sides, variation, wanted, variation.value)

    def in_float64(self, wanted: Sequence[int], importing: bool) -> Reference | None:
        """The source's outputs in float64; None where it cannot be had.

        Args:
            wanted: The numbers of the input sets.
            importing: Bring a model whose runtime has no float64 to PyTorch for that, which takes seconds.
        """
        if self.offers(Variation.FLOAT64):
            found = self.varied(Variation.FLOAT64, wanted)
            return Reference(found) if found else None
        importer, runtime = _importer(self.source.variant), runtime_for(_IN_FLOAT64)
        if not importing or not self.affordable or importer is None or runtime is None or lacking_packages(runtime.host):
            return None
        output = self.scratch / f"float64{importer.target.suffix}"
        try:
            if not output.exists():
                convert_step(
                    importer, ConversionRequest(self.source, output, self.source.signature), self.sides.pool, self.sides.timeout
                )
        except ConvkitError:
            return None
        program = Artifact(importer.target, output, self.source.signature)
        imported = replace(
            self.sides, artifacts=(program, self.sides.artifacts[1]), runtimes=(runtime, self.sides.runtimes[1])
        )  # fmt: skip
        wide = self._run(imported, Variation.FLOAT64, wanted, "imported-float64")
        narrow = self._run(imported, Variation.REPEAT, wanted, "imported") if wide else {}
        return Reference(wide, narrow) if narrow else None

    def _run(self, sides: Sides, variation: Variation, wanted: Sequence[int], label: str) -> dict[int, Path]:
        files = [(given, self.scratch / f"{label}-{number}.npz") for number, given in enumerate(self.inputs)]
        for _, output in files:
            output.unlink(missing_ok=True)  # of an earlier route
        try:
            sides.run_source(files, variation, wanted)
        except ConvkitError:
            return {}
        return {number: files[number][1] for number in wanted if files[number][1].exists()}


def look_closer(judge: Judge, experiments: Experiments, *, thorough: bool, float64: bool) -> None:
    """Sees whether outputs that miss their tolerance do so by more than the source's own noise, cheap experiments first.

    Args:
        judge: Of runs on the experiments' inputs.
        experiments: On the source.
        thorough: Take seconds: float64 for what no rounding explains, to be told, and through an importer.
        float64: Do so in any case.
    """
    wanted = judge.taken if float64 else judge.near_misses()
    if thorough and not float64:
        wanted += [number for number in judge.doubtful() if number not in wanted][:_MOST_TOLD]
    found = experiments.in_float64(wanted, importing=float64) if wanted else None
    _refer(judge, found)
    again = Variation.THREADS if experiments.offers(Variation.THREADS) else Variation.REPEAT
    for variation in (Variation.WEIGHTS, again):
        if (wanted := judge.near_misses()) and experiments.offers(variation):
            for number, file in experiments.varied(variation, wanted).items():
                judge.weigh(number, file, noise.reason_of(variation))
    if thorough and found is None and (wanted := judge.near_misses()):
        _refer(judge, experiments.in_float64(wanted, importing=True))


def _refer(judge: Judge, reference: Reference | None) -> None:
    if reference is None:
        return
    for number, wide in reference.wide.items():
        narrow = None if reference.narrow is None else reference.narrow.get(number)
        if reference.narrow is None or narrow is not None:
            judge.refer(number, wide, narrow, noise.reason_of(Variation.FLOAT64))


def _importer(variant: Variant) -> Converter | None:
    """What brings a variant to what runs in float64, in seconds."""
    found = [c for c in converters() if c.is_importer and variant in c.sources and c.target is _IN_FLOAT64]
    return min((c for c in found if not lacking_packages(c.host)), key=lambda c: c.cost, default=None)
