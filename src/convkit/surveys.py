"""Checks of many models against many targets, and what they come to: which operators block most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convkit.errors import ConvkitError, UnreadableModelError, UsageError
from convkit.formats import Format
from convkit.legalization.target import Finding, Verdict

if TYPE_CHECKING:
    from convkit.results import CheckResult

__all__ = ["Blocker", "Survey", "model_files", "surveyed"]


@dataclass(frozen=True)
class Blocker:
    """An operator that keeps models from a target.

    Attributes:
        operator, code, reason, hint: As the findings say.
        target: The format that it keeps them from.
        models: Which models.
        count: How often they have it, together.
    """

    operator: str
    code: str
    target: str
    reason: str
    hint: str
    models: tuple[str, ...]
    count: int

    def to_json(self) -> dict[str, Any]:
        return {**vars(self), "models": list(self.models)}


@dataclass(frozen=True)
class Survey:
    """What checks of models × targets said.

    Attributes:
        results: By model and target; an error where the model cannot be read or no route leads there.
    """

    results: Mapping[tuple[str, str], CheckResult | ConvkitError] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(model for model, _ in self.results))

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(target for _, target in self.results))

    @property
    def ok(self) -> bool:
        """Whether every model reaches every target."""
        return all(not isinstance(r, ConvkitError) and r.ok for r in self.results.values())

    @property
    def blockers(self) -> tuple[Blocker, ...]:
        """What to mend first: by the number of models that it keeps from a target, then by how often they have it.

        A model that some route takes is not blocked; of one that none takes, the best route's gaps count.
        """
        found: dict[tuple[str, str, str], list[tuple[str, Finding]]] = {}
        for model, target, gap in self._gaps():
            found.setdefault((gap.operator, gap.code, target), []).append((model, gap))
        made = [
            Blocker(
                operator, code, target, told[0][1].reason, told[0][1].hint,
                tuple(dict.fromkeys(model for model, _ in told)), sum(gap.count for _, gap in told),
            )
            for (operator, code, target), told in found.items()
        ]  # fmt: skip
        return tuple(sorted(made, key=lambda b: (-len(b.models), -b.count, b.operator, b.target)))

    def _gaps(self) -> Iterator[tuple[str, str, Finding]]:
        for (model, target), result in self.results.items():
            if not isinstance(result, ConvkitError) and not result.ok:
                yield from ((model, target, gap) for gap in result.gaps)

    def table(self, model: str) -> list[tuple[str, dict[str, Verdict]]]:
        """Per operator of a model its verdict on the best route to each target; what is not legal everywhere comes first."""
        rows: dict[str, dict[str, Verdict]] = {}
        order = (Verdict.LEGAL, Verdict.REWRITTEN, Verdict.GAP)
        for target in self.targets:
            result = self.results[model, target]
            for finding in [] if isinstance(result, ConvkitError) else result.best:
                verdicts = rows.setdefault(finding.operator, {})
                verdicts[target] = max(verdicts.get(target, Verdict.LEGAL), finding.verdict, key=order.index)
        return sorted(rows.items(), key=lambda row: (-max(map(order.index, row[1].values())), row[0]))

    def to_json(self) -> dict[str, Any]:
        def told(result: CheckResult | ConvkitError) -> dict[str, Any]:
            return {"error": result.to_json()} if isinstance(result, ConvkitError) else result.to_json()

        return {
            "schema_version": 1,
            "ok": self.ok,
            "checks": [{"model": m, "target": t, **told(r)} for (m, t), r in self.results.items()],
            "blockers": [b.to_json() for b in self.blockers],
        }


def model_files(directory: Path) -> list[Path]:
    """The models under a directory, by their content, in order; a directory that is a model is not searched.

    Raises:
        UsageError: It is no directory, or holds no model.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is no directory", hint="give the directory that holds the models")
    found = [*_models_in(directory)]
    if not found:
        raise UsageError(f"there is no model under {directory}", hint="convkit inspect FILE says what a file is")
    return found


def _models_in(directory: Path) -> Iterator[Path]:
    from convkit.readers import identify

    for path in sorted(directory.iterdir()):
        if path.is_symlink() or path.name.startswith("."):
            continue
        try:
            identify(path)
        except UnreadableModelError:
            if path.is_dir():
                yield from _models_in(path)
        else:
            yield path


def surveyed(
    models: Sequence[str], targets: Iterable[Format], check: Callable[[str, Format], CheckResult]
) -> Survey:  # fmt: skip
    """Checks every model against every target; an error costs its own place in the table only."""
    results: dict[tuple[str, str], CheckResult | ConvkitError] = {}
    for model in models:
        for target in targets:
            try:
                results[model, target.value] = check(model, target)
            except UsageError as error:
                if _is_there_already(model, target):
                    continue
                results[model, target.value] = error
            except ConvkitError as error:
                results[model, target.value] = error
    return Survey(results)


def _is_there_already(model: str, target: Format) -> bool:
    from convkit.readers import identify

    try:
        return identify(Path(model)) is target.default_variant
    except ConvkitError:
        return False
