"""The readers on the real models in `fixtures/`, against what the script that made them recorded."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from convkit.artifact import size_of
from convkit.formats import Variant
from convkit.readers import identify, inspect
from convkit.signature import Signature

FIXTURES = Path(__file__).parents[2] / "fixtures"
MODELS = json.loads((FIXTURES / "fixtures.json").read_text())["models"]
VARIANTS = {
    "pt2": Variant.EXPORTED_PROGRAM,
    "traced.pt": Variant.TORCHSCRIPT,
    "scripted.pt": Variant.TORCHSCRIPT,
    "pickled.pt": Variant.PICKLED_MODULE,
    "state_dict.pt": Variant.STATE_DICT,
    "safetensors": Variant.SAFETENSORS,
    "onnx": Variant.ONNX,
    "savedmodel": Variant.SAVEDMODEL,
    "keras": Variant.KERAS,
    "h5": Variant.KERAS_H5,
    "tflite": Variant.TFLITE,
}
# The formats that record the whole signature, and an operator that the convolutional model must have there.
WHOLE_SIGNATURE = {
    "pt2": "aten.conv2d.default",
    "onnx": "Conv",
    "savedmodel": "Conv2D",
    "keras": "Conv2D",
    "h5": "Conv2D",
    "tflite": "CONV_2D",
}
HEAVY = ("torch", "tensorflow", "onnxruntime", "keras", "h5py", "executorch", "ai_edge_litert")


def path_of(model: str, suffix: str) -> Path:
    return FIXTURES / model / f"{model}.{suffix}"


def recorded(model: str) -> Signature:
    return Signature.from_json(MODELS[model])


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("suffix", list(VARIANTS))
def test_every_variant_is_told_by_its_content(model: str, suffix: str, tmp_path: Path) -> None:
    path = path_of(model, suffix)
    assert identify(path) is VARIANTS[suffix]
    disguise = tmp_path / "model.bin"
    disguise.symlink_to(path)
    assert identify(disguise) is VARIANTS[suffix]
    info = inspect(path)
    assert (info.variant, info.size) == (VARIANTS[suffix], size_of(path))


@pytest.mark.parametrize("model", list(MODELS))
@pytest.mark.parametrize("suffix", list(WHOLE_SIGNATURE))
def test_the_signature_is_the_source_models(model: str, suffix: str) -> None:
    found, expected = inspect(path_of(model, suffix)).signature, recorded(model)
    assert found is not None
    if suffix in {"savedmodel", "tflite"}:
        # TensorFlow returns dictionaries sorted by key, and files keep that order.
        expected = Signature(expected.inputs, tuple(sorted(expected.outputs, key=lambda t: t.name)))
    if model == "digits_lstm" and suffix == "pt2":
        # This model returns a bare tensor, which has no name in PyTorch.
        expected = expected.renamed(expected.input_names, ["output"])
    assert found.differences(expected) == []
    assert found.dynamic_dims == ("batch",)


@pytest.mark.parametrize(("suffix", "operator"), WHOLE_SIGNATURE.items())
def test_operators_are_counted(suffix: str, operator: str) -> None:
    assert inspect(path_of("digits_cnn", suffix)).operators[operator] == 3


@pytest.mark.parametrize("model", list(MODELS))
def test_parameters_are_all_there(model: str) -> None:
    count = MODELS[model]["parameters"]
    # Running statistics of batch normalisation (two of 8, two of 16, two counters) are weights in the file as well.
    stored = count + (50 if model == "digits_cnn" else 0)
    for suffix in ("pt2", "traced.pt", "scripted.pt", "pickled.pt", "state_dict.pt", "safetensors"):
        assert inspect(path_of(model, suffix)).parameters == stored, suffix


def test_exported_programs_have_examples_and_ranges() -> None:
    info = inspect(path_of("digits_cnn", "pt2"))
    assert info.has_examples
    assert info.metadata["dynamic_ranges"] == {"batch": [1, 64]}


def test_traced_files_record_input_shapes_and_scripted_ones_none() -> None:
    traced, scripted = (inspect(path_of("digits_transformer", s)) for s in ("traced.pt", "scripted.pt"))
    assert traced.signature is not None
    assert [str(t) for t in traced.signature.inputs] == ["tokens: int64[2,64]"]
    assert traced.signature.output_names == ("logits", "embedding")
    assert scripted.signatures == ()
    assert any("--input" in note for note in scripted.notes)


def test_a_pickled_module_lists_what_it_imports() -> None:
    info = inspect(path_of("digits_cnn", "pickled.pt"))
    assert info.metadata["class"] == "models.DigitsCNN"
    assert any("models.DigitsCNN" in note for note in info.notes)
    assert any("--trust-pickle" in need for need in info.requires)


def test_inspecting_imports_no_framework() -> None:
    paths = [str(path_of("digits_cnn", suffix)) for suffix in VARIANTS]
    code = (
        "import sys; from pathlib import Path; from convkit.readers import inspect\n"
        f"for path in {paths!r}: inspect(Path(path))\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
