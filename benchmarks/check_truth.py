"""Is the check right? What it says of models, against what a conversion with proof makes of them: a confusion matrix.

Usage: python -m benchmarks.check_truth CORPUS [--to litert,executorch] [--every N] [--probe] [--output FILE]

CORPUS is a directory of `<case>/model.onnx` or `<case>/model.pt2`, as `benchmarks.onnx_node_suite` and
`benchmarks.torch_operators` make them. A gap that is called and does not convert is a true positive; "false legal" is what the
check should have seen.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["judge"]


def judge(model: Path, target: str, probe: bool) -> dict[str, Any]:
    """What the check says of a model, and what the conversion makes of it."""
    import convkit
    from convkit.errors import ConvkitError

    told: dict[str, Any] = {"model": model.parent.name, "target": target}
    try:
        result = convkit.check(model, target, probe=probe)
        told |= {"says": "legal" if result.ok else "gap", "why": "; ".join(map(str, result.gaps))[:300]}
    except ConvkitError as error:
        told |= {"says": "gap", "why": error.message[:300]}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            convkit.convert(model, target, Path(scratch) / "out", force=True)
            told["is"] = "legal"
        except ConvkitError as error:
            told |= {"is": "gap", "error": error.message[:300]}
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--to", default="litert,executorch,savedmodel,pytorch")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--output", type=Path, help="a file for one JSON object a line")
    arguments = parser.parse_args()
    models = sorted(p for p in arguments.corpus.glob("*/model.*") if p.suffix in (".onnx", ".pt2"))[:: arguments.every]
    for target in arguments.to.split(","):
        counts: Counter[tuple[str, str]] = Counter()
        for model in models:
            told = judge(model, target, arguments.probe)
            counts[told["says"], told["is"]] += 1
            if arguments.output is not None:
                with arguments.output.open("a") as stream:
                    stream.write(json.dumps(told) + "\n")
            if told["says"] != told["is"]:
                print(
                    f"  {told['model']} → {target}: check {told['says']}, is {told['is']}: {told.get('error') or told['why']}",
                    flush=True,
                )
        right, total = counts["gap", "gap"] + counts["legal", "legal"], counts.total()
        print(
            f"{target}: {right} of {total} right · gap and is one {counts['gap', 'gap']} · false gap {counts['gap', 'legal']}"
            f" · false legal {counts['legal', 'gap']}",
            flush=True,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
