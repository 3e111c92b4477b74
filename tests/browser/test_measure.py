"""How the preview compares outputs, run in Node."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import convkit.browser
from convkit.workers import toolchains

MEASURE = Path(convkit.browser.__file__).parent / "page" / "measure.mjs"


def tensor(values: str, dtype: str = "float32", shape: str = "[2]") -> str:
    return f"{{ dtype: '{dtype}', shape: {shape}, values: {values} }}"


CASES = [
    (tensor("[1, -4]"), tensor("[1, -4]"), 0, ""),
    (tensor("[1, -4]"), tensor("[1.5, -3]"), 0.25, ""),
    (tensor("[0, 0]"), tensor("[0, 1e-9]"), math.inf, ""),
    (tensor("[NaN, 1]"), tensor("[NaN, 1]"), 0, ""),
    (tensor("[NaN, 1]"), tensor("[0, 1]"), math.inf, "0 at position 0, the reference has NaN"),
    (tensor("[Infinity, 1]"), tensor("[-Infinity, 1]"), math.inf, "-Infinity at position 0, the reference has Infinity"),
    (tensor("[5n, 7n]", "int64"), tensor("[5, 7]", "int32"), 0, ""),
    (tensor("[1, 2]"), tensor("[1, 2]", shape="[2, 1]"), math.inf, "shape [2,1], the reference has [2]"),
    (tensor("[1, 2]"), "undefined", math.inf, "the output is missing"),
    (tensor("[]", shape="[0]"), tensor("[]", shape="[0]"), 0, ""),
]


def test_differences_are_shares_of_the_references_scale():
    calls = ", ".join(f"compare({reference}, {output})" for reference, output, _, _ in CASES)
    script = f"""
import {{ compare }} from {json.dumps(MEASURE.as_uri())};
console.log(JSON.stringify([{calls}].map(({{ difference, problem }}) => [String(difference), problem])));
"""
    node = toolchains.node_toolchain("browser").node
    done = subprocess.run([node, "--input-type=module", "--eval", script], capture_output=True, text=True, check=True)
    found = [(float(difference.replace("Infinity", "inf")), problem) for difference, problem in json.loads(done.stdout)]
    assert found == [(difference, problem) for _, _, difference, problem in CASES]
