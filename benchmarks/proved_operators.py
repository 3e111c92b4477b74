"""Which operators have been proved to convert, in which forms: from the results of other benchmarks, into the package's data.

Usage: python -m benchmarks.proved_operators onnx|torch RESULTS [RESULTS …]

onnx     RESULTS are the `<target>.jsonl` of `benchmarks.onnx_node_suite`
torch    RESULTS are those of `benchmarks.torch_operators` and of `benchmarks.transformers_models`

An operator counts as proved in the forms that it has in models that came out right. One of torch's that a case is about that did
not come out right does not count at all: what is wrong with it no form tells. `convkit check` trusts its tables for models of
proved operators, and makes a trial for others (`convkit.legalization.onnx.certainty`, `convkit.legalization.torch.certainty`).
Targets that the results do not have are left as they are in the data.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import onnx_node_corpus, torch_operators, transformers_models
from convkit.legalization.onnx import certainty as onnx_certainty
from convkit.legalization.onnx import preparation
from convkit.legalization.proved import Form, ProvedOperators
from convkit.legalization.torch import certainty as torch_certainty
from convkit.registry import installed_version

_PACKAGES = ("onnx", "onnx-ir", "torch", "tensorflow", "ai-edge-litert", "executorch", "litert-torch")

Forms = Iterable[tuple[str, Form | None]]


class Source(NamedTuple):
    """A kind of models: where the data are kept, and the forms of the operators of the model that an outcome is about."""

    path: Path
    forms: Callable[[Mapping[str, Any]], Forms]
    contests: bool


def _onnx_forms(outcome: Mapping[str, Any]) -> Iterator[tuple[str, Form]]:
    model = preparation.load(onnx_node_corpus.CORPUS / outcome["case"] / "model.onnx")
    return ((onnx_certainty.name_of(node), onnx_certainty.form(node)) for node in model.graph.all_nodes())


def _torch_forms(outcome: Mapping[str, Any]) -> Forms:
    if "case" in outcome:
        return torch_certainty.forms(torch_operators.corpus() / outcome["case"] / "model.pt2")
    return torch_certainty.forms(transformers_models.Program(outcome["name"], outcome["form"]).model)


SOURCES = {
    "onnx": Source(onnx_certainty.PROVED, _onnx_forms, contests=False),
    "torch": Source(torch_certainty.PROVED, _torch_forms, contests=True),
}


def proved(source: Source, outcomes: Iterable[Mapping[str, Any]]) -> dict[str, Form]:
    """Operator → the parts of its proved forms, from one target's outcomes."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    contested: set[str] = set()
    for outcome in outcomes:
        forms = list(source.forms(outcome))
        if outcome["verdict"] == "right":
            for operator, form in forms:
                found[operator] |= form or frozenset()
        elif source.contests:
            contested |= _blamed({operator for operator, _ in forms}, outcome.get("case", ""))
    return {operator: frozenset(parts) for operator, parts in found.items() if operator not in contested}


def _blamed(operators: set[str], case: str) -> set[str]:
    """Which operators a case that is not right speaks against: its only one, or those that it is named after."""
    return operators if len(operators) == 1 else {name for name in operators if "." in name and name.split(".")[1] in case}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", choices=SOURCES)
    parser.add_argument("results", type=Path, nargs="+")
    arguments = parser.parse_args()
    source = SOURCES[arguments.source]
    outcomes: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for path in arguments.results:
        for line in path.read_text("utf-8").splitlines():
            outcomes[(outcome := json.loads(line))["target"]].append(outcome)
    targets = dict(ProvedOperators.load(source.path).targets) if source.path.exists() else {}
    for target, found in outcomes.items():
        targets[target] = proved(source, found)
        print(f"{target}: {len(targets[target])} operators, {sum(map(len, targets[target].values()))} parts of forms")
    versions = {name: version for name in _PACKAGES if (version := installed_version(name))}
    ProvedOperators(versions, targets).save(source.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
