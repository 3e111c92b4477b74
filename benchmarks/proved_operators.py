"""Which ONNX operators have been proved to convert, in which forms: from the results of the node suite, into the package's data.

Usage: python -m benchmarks.proved_operators [--results DIRECTORY] [--to pytorch,savedmodel,…]

Reads the `<target>.jsonl` that `benchmarks.onnx_node_suite` writes and the corpus that it ran on. An operator counts as proved in
the form that it has in a case that came out right. `convkit check` trusts its tables for a model of proved operators, and makes a
trial for others (`convkit.legalization.onnx.certainty`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from pathlib import Path

from benchmarks import onnx_node_corpus as corpus
from benchmarks.onnx_node_suite import OUTPUT, TARGETS
from convkit.legalization.onnx import preparation
from convkit.legalization.onnx.certainty import PROVED, form, name_of
from convkit.registry import installed_version

_PACKAGES = ("onnx", "onnx-ir", "torch", "tensorflow", "ai-edge-litert", "executorch")


def proved(results: Path, cases: Path) -> dict[str, list[str]]:
    """Operator → its forms in cases that came out right, from one target's results."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for line in results.read_text("utf-8").splitlines():
        outcome = json.loads(line)
        if outcome["verdict"] == "right":
            for node in preparation.load(cases / outcome["case"] / "model.onnx").graph.all_nodes():
                found[name_of(node)] |= form(node)
    return {operator: sorted(forms) for operator, forms in sorted(found.items())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=OUTPUT)
    parser.add_argument("--to", default=",".join(TARGETS))
    arguments = parser.parse_args()
    kept = json.loads(PROVED.read_text("utf-8"))["targets"] if PROVED.exists() else {}
    for target in arguments.to.split(","):
        kept[target] = proved(arguments.results / f"{target}.jsonl", corpus.CORPUS)
        print(f"{target}: {len(kept[target])} operators in {sum(map(len, kept[target].values()))} forms")
    versions = {name: installed_version(name) for name in _PACKAGES}
    PROVED.write_text(json.dumps({"versions": versions, "targets": kept}, indent=0, ensure_ascii=False) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
