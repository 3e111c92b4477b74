"""Size and digest of models that are one file, a file with external data, or a directory."""

from __future__ import annotations

import hashlib

from convkit.artifact import Artifact, PyTorchSource, digest_of, size_of
from convkit.formats import Variant


def test_one_file_has_the_digest_that_sha256sum_prints(tmp_path):
    (tmp_path / "a.onnx").write_bytes(b"model")
    assert digest_of(tmp_path / "a.onnx") == "sha256:" + hashlib.sha256(b"model").hexdigest()
    assert size_of(tmp_path / "a.onnx") == 5


def test_external_data_belongs_to_its_model(tmp_path):
    model, data = tmp_path / "a.onnx", tmp_path / "a.onnx.data"
    model.write_bytes(b"model")
    alone = digest_of(model)
    data.write_bytes(b"weights")
    with_data = digest_of(model)
    data.write_bytes(b"Weights")
    assert len({alone, with_data, digest_of(model)}) == 3
    assert size_of(model) == 12


def test_a_directory_counts_names_and_contents(tmp_path):
    def model(name, files):
        for path, content in files.items():
            (tmp_path / name / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / path).write_text(content)
        return digest_of(tmp_path / name)

    assert model("a", {"x": "1", "v/y": "2"}) == model("b", {"v/y": "2", "x": "1"})
    assert model("c", {"x": "2", "v/y": "1"}) != model("d", {"x": "1", "v/y": "2"})
    assert size_of(tmp_path / "a") == 2


def test_an_artifact_survives_json(tmp_path):
    source = PyTorchSource("net.py:build", tmp_path / "w.pt", True)
    artifact = Artifact(Variant.MODULE_FACTORY, tmp_path / "net.py", None, source)
    assert Artifact.from_json(artifact.to_json()) == artifact
