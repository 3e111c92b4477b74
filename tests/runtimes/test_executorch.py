"""ExecuTorch's runtime: what it says when a file or an input is not right. The numbers: test_pytorch_to_executorch.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import pytorch_to_executorch as converter
from convkit.errors import ConversionError, InputSpecError
from convkit.formats import Variant
from convkit.runtimes import executorch as runtime
from convkit.signature import Signature
from tests.converters import torch_models as models


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """`difference`: two inputs of one shape, two outputs, one of which is an input."""
    directory = tmp_path_factory.mktemp("pte")
    module, signature = models.build("difference")
    source = models.saved(module, signature, directory / "m.pt2")
    converter.convert(ConversionRequest(source, directory / "m.pte", signature))
    return Artifact(Variant.PTE, directory / "m.pte", signature)


def signature_of(artifact: Artifact) -> Signature:
    assert artifact.signature is not None
    return artifact.signature


def test_inputs_go_by_name_whatever_the_order_of_the_feeds(artifact: Artifact) -> None:
    left, right = np.full((3, 3), 5, np.float32), np.full((3, 3), 2, np.float32)
    got = runtime.load(artifact).run({"right": right, "left": left})
    np.testing.assert_array_equal(got["difference"], np.full((3, 3), 3))
    np.testing.assert_array_equal(got["same"], right)


def test_a_missing_input_is_named(artifact: Artifact) -> None:
    with pytest.raises(InputSpecError, match="right"):
        runtime.load(artifact).run({"left": np.ones((2, 3), np.float32)})


def test_a_size_above_the_bound_is_explained(artifact: Artifact) -> None:
    with pytest.raises(ConversionError, match=r"left\[65, 3\].*larger than its upper bound"):
        runtime.load(artifact).run(models.arrays(signature_of(artifact), 65))


def test_a_broken_file_is_no_crash(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "m.pte").write_bytes(artifact.path.read_bytes()[:200])
    with pytest.raises(ConversionError, match="cannot load"):
        runtime.load(Artifact(Variant.PTE, tmp_path / "m.pte", artifact.signature))


def test_another_signature_is_refused(artifact: Artifact) -> None:
    own = signature_of(artifact)
    with pytest.raises(ConversionError, match="2 inputs and 2 outputs"):
        runtime.load(Artifact(Variant.PTE, artifact.path, Signature(own.inputs[:1], own.outputs)))


def test_loading_needs_no_compiler(artifact: Artifact) -> None:
    """`executorch.runtime` imports the compiler, several seconds of it; a runtime's worker does without."""
    code = (
        "import sys, json; from pathlib import Path; from convkit.artifact import Artifact\n"
        "from convkit.runtimes import executorch\n"
        "session = executorch.load(Artifact.from_json(json.loads(sys.argv[1])))\n"
        "print(any(m.startswith(('executorch.exir', 'torchao')) for m in sys.modules), session.signature.input_names)"
    )
    import json

    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(artifact.to_json())], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False ('left', 'right')"
