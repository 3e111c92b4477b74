"""Converters whose check is the conversion itself: only tracing and running tell whether a model is legal.

What the check has made is kept until the conversion asks for it, so that nothing is computed twice, and what is called legal
has been made. One model is kept at a time: a worker must not hold the weights of two.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from convkit.components import ConversionOutcome, ConversionRequest
from convkit.errors import ConversionError
from convkit.legalization.target import Finding, Verdict

__all__ = ["Checked", "Made", "RefusedError", "node_gap", "refused", "remember_program", "tried"]


@dataclass(frozen=True)
class Made:
    """What became of a model.

    Attributes:
        findings: The verdict on every operator.
        error: Why there is no file, None where there is one.
        notes: What the user should know of the file.
        kept: What the delivery needs, for example the traced program.
    """

    findings: list[Finding]
    error: ConversionError | None = None
    notes: tuple[str, ...] = ()
    kept: Any = None


@dataclass
class Checked:
    """The check and the conversion of one converter.

    Attributes:
        make: Writes the file or directory to a path, and says what became of the model. Writes nothing where it returns an
            error; raises only for what is no verdict on the model.
        deliver: Called with the request and what was made when the file is in its place.
    """

    make: Callable[[ConversionRequest, Path], Made]
    deliver: Callable[[ConversionRequest, Made], None] | None = None
    _latest: tuple[tuple[Any, ...], Path, Made] | None = field(default=None, init=False)

    def check(self, request: ConversionRequest) -> list[Finding]:
        """The verdict on every operator of the model; where there is no gap, the file has been made."""
        self._forget()
        # Under its own name: what lies beside a model (external data) is named after it.
        directory = tempfile.mkdtemp(prefix=f"{request.output.name}.checked-", dir=request.output.parent)
        path = Path(directory) / request.output.name
        made = self.make(request, path)
        self._latest = (_key(request), path, made)
        return made.findings

    def convert(self, request: ConversionRequest) -> ConversionOutcome:
        """Puts into `request.output` what the check has made, or makes it now.

        Raises:
            ConversionError: It cannot be made.
        """
        latest, self._latest = self._latest, None
        if latest is not None and latest[0] == _key(request) and _delivered(latest[1], latest[2], request.output):
            made = latest[2]
        else:
            made = self.make(request, request.output)
        self._remove(latest)
        if made.error is not None:
            raise made.error
        if self.deliver is not None:
            self.deliver(request, made)
        return ConversionOutcome(made.notes)

    def _forget(self) -> None:
        latest, self._latest = self._latest, None
        self._remove(latest)

    @staticmethod
    def _remove(latest: tuple[tuple[Any, ...], Path, Made] | None) -> None:
        if latest is not None:
            shutil.rmtree(latest[1].parent, ignore_errors=True)


def _delivered(path: Path, made: Made, output: Path) -> bool:
    """Moves what a check has made to its place; False where it cannot be there, or is gone."""
    if made.error is not None:
        return True
    beside = [part for part in path.parent.iterdir() if part != path] if path.exists() else []
    if not path.exists() or (beside and path.name != output.name):
        return False
    shutil.move(path, output)
    for part in beside:
        shutil.move(part, output.parent)
    return True


class RefusedError(ConversionError):
    """A library's converter lacks operators.

    Attributes:
        gaps: A finding each.
    """

    def __init__(self, message: str, gaps: Sequence[Finding], *, component: str, hint: str) -> None:
        super().__init__(message, component=component, hint=hint)
        self.gaps = tuple(gaps)


def tried(
    write: Callable[[ConversionRequest], ConversionOutcome], survey: Callable[[ConversionRequest], list[Finding]]
) -> Checked:
    """The check and the conversion of a library's converter, whose tables name its operators and do not know all that it refuses.

    Args:
        write: Converts; raises a `RefusedError` where it can tell the operators.
        survey: The verdict of the tables. Its gaps are told with those of the converter, which stops at the first of them.
    """

    def make(request: ConversionRequest, output: Path) -> Made:
        try:
            outcome = write(replace(request, output=output))
        except ConversionError as error:
            output.unlink(missing_ok=True)
            listed = survey(request)
            gaps = list(error.gaps) if isinstance(error, RefusedError) else []
            known = {gap.operator for gap in gaps}
            gaps += [f for f in listed if f.verdict is Verdict.GAP and f.operator not in known]
            if not gaps:
                gaps.append(Finding("the graph", 1, Verdict.GAP, error.message, hint=error.hint, code="CK111"))
            named = {gap.operator for gap in gaps}
            return refused([f for f in listed if f.operator not in named], gaps, error.component, error)
        legal = [f if f.verdict is not Verdict.GAP else replace(f, verdict=Verdict.LEGAL, reason="") for f in survey(request)]
        return Made(legal, notes=outcome.notes)

    return Checked(make)


def refused(findings: Sequence[Finding], gaps: Sequence[Finding], component: str, error: ConversionError | None = None) -> Made:
    """A model with these gaps in front of its other findings."""
    told = "; ".join(str(g) for g in (*gaps, *findings) if g.verdict is Verdict.GAP)
    hint = "replace them in the model, or see `convkit plan` for another route"
    return Made([*gaps, *findings], error or ConversionError(told, component=component, hint=hint))


def node_gap(error: BaseException | None) -> Finding | None:
    """The gap that the interpreter's error behind another one names: operator, place and reason; None where there is none."""
    from convkit.interpreters.interpreter import NodeError

    while error is not None:
        if isinstance(error, NodeError):
            return Finding(error.operator, 1, Verdict.GAP, error.reason, (error.place,))
        error = error.__cause__ or error.__context__
    return None


def remember_program(request: ConversionRequest, made: Made) -> None:
    """For `Checked.deliver` of an importer to PyTorch: the next step, in the same process, need not read the file."""
    from convkit.artifact import Artifact
    from convkit.formats import Variant
    from convkit.loading import pytorch as loading

    loading.remember_traced(Artifact(Variant.EXPORTED_PROGRAM, request.output), made.kept)


def _key(request: ConversionRequest) -> tuple[Any, ...]:
    def stamp(path: Path | None) -> tuple[Any, ...]:
        return () if path is None else (str(path), path.stat().st_mtime_ns, path.stat().st_size)

    return (*stamp(request.source.path), *stamp(request.examples), request.signature, repr(request.options))
