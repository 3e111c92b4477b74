"""What a model's file tells of the values of its inputs, in each format that has a graph to read."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from convkit import inspect
from convkit.readers.input_domains import Affine, Choice, Logarithm, Moved, Truth, input_domains
from convkit.signature import TensorSpec

IMAGE = TensorSpec("x", "float32", ("n", 3, 8, 8))
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def ranges(spec, *steps):
    return {name: (d["kind"], d["low"], d["high"]) for name, d in input_domains([spec], steps).items()}


@pytest.mark.parametrize(
    ("steps", "high"),
    [
        ([Affine("x", "a", (1 / 255,))], 255),
        ([Affine("x", "a", (1 / 127.5,)), Affine("a", "b", offset=(-1.0,))], 255),
        ([Affine("x", "a", offset=[-m for m in MEAN]), Affine("a", "b", [1 / s for s in STD])], 1),
        ([Affine("x", "a", offset=[-255 * m for m in MEAN]), Affine("a", "b", [1 / 255 / s for s in STD])], 255),
        ([Affine("x", "a", (1 / 255,)), Moved("a", ("b",)), Affine("b", "c", offset=[-m for m in MEAN])], 255),
        ([Affine("x", "a", offset=(-103.9, -116.8, -123.7))], 255),
        ([Affine("x", "a", (2.0,)), Affine("a", "b", offset=(-1.0,))], 1),
    ],
)
def test_the_range_of_pixels_is_what_the_normalisation_maps(steps, high):
    assert ranges(IMAGE, *steps) == {"x": ("image", 0, high)}


def test_a_mere_scale_of_something_else_says_nothing():
    assert ranges(IMAGE, Affine("x", "a", (0.5,))) == {}
    assert ranges(IMAGE, Affine("x", "a", offset=(-0.5,))) == {}
    assert ranges(TensorSpec("x", "float32", ("n", 16)), Affine("x", "a", (1 / 255,))) == {}
    assert ranges(IMAGE, Affine("other", "a", (1 / 255,))) == {}


def test_masks_are_told_by_what_hides_scores():
    mask = TensorSpec("m", "float32", ("n", 8))
    bias = [Affine("m", "a", (-1.0,), (1.0,)), Moved("a", ("b",)), Affine("b", "c", (-1e4,))]
    assert ranges(mask, *bias) == {"m": ("mask", 0, 1)}
    filled = [Affine("m", "a", (-1.0,), (1.0,)), Truth("a", "b"), Choice("b", -3.4e38)]
    assert ranges(mask, *filled) == {"m": ("mask", 0, 1)}
    whole = TensorSpec("m", "int64", ("n", 8))
    assert ranges(whole, Truth("m", "a"), Choice("a", None)) == {"m": ("mask", 0, 1)}


def test_a_guard_against_zero_makes_no_mask_of_a_float():
    assert ranges(IMAGE, Truth("x", "a"), Choice("a", 1e-6)) == {}
    assert ranges(IMAGE, Choice("x", -1e9)) == {}


def test_a_logarithm_takes_probabilities():
    rows = TensorSpec("p", "float32", ("n", 8))
    assert ranges(rows, Moved("p", ("a",)), Logarithm("a")) == {"p": ("probabilities", 0.0, 1.0)}
    assert ranges(rows, Affine("p", "a", offset=(1.0,)), Logarithm("a")) == {}


@pytest.fixture(scope="module")
def normalising():
    """A small network that normalises images by itself, and one that is given a mask."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor(MEAN).reshape(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor(STD).reshape(1, 3, 1, 1))
            self.layer = torch.nn.Conv2d(3, 4, 3)

        def forward(self, image, keep):
            x = self.layer((image / 255.0 - self.mean) / self.std).mean((2, 3))
            return torch.softmax(x + (1.0 - keep) * -1e4, -1)

    return torch.export.export(Network().eval(), (torch.rand(2, 3, 8, 8), torch.ones(2, 4)))


def test_an_exported_program_tells(normalising, tmp_path):
    import torch

    torch.export.save(normalising, tmp_path / "m.pt2")
    check(tmp_path / "m.pt2")


@pytest.mark.parametrize(("target", "suffix"), [("onnx", "onnx"), ("litert", "tflite")])
def test_what_it_is_converted_to_tells_the_same(normalising, tmp_path, target, suffix, pool):
    import convkit

    converted = convkit.convert(normalising, target, tmp_path / f"m.{suffix}", pool=pool)
    check(converted.artifact.path)
    assert set(converted.report.validation.domains) == {"image", "keep"}


def check(path):
    found = inspect(path).metadata["input_domains"]
    assert {n: (d["kind"], d["low"], d["high"]) for n, d in found.items()} == {"image": ("image", 0, 255), "keep": ("mask", 0, 1)}
    assert "normalised" in found["image"]["evidence"] and "-1e+04" in found["keep"]["evidence"]


@pytest.fixture(scope="module")
def keras_models(tmp_path_factory):
    """A functional and a sequential model that normalise by their first layers."""
    import keras

    layers, directory = keras.layers, tmp_path_factory.mktemp("keras")
    image, ids = keras.Input((8, 8, 3), name="image"), keras.Input((7,), dtype="int64", name="ids")
    scaled = layers.Normalization(mean=MEAN, variance=[s * s for s in STD])(layers.Rescaling(1 / 255)(image))
    outputs = [layers.Conv2D(4, 3)(scaled), layers.Embedding(50, 4)(layers.Reshape((7, 1))(ids))]
    functional = keras.Model([image, ids], outputs)
    sequential = keras.Sequential([keras.Input((8, 8, 3)), layers.Rescaling(1 / 127.5, offset=-1), layers.Conv2D(4, 3)])
    for name, model in (("functional", functional), ("sequential", sequential)):
        for suffix in ("keras", "h5"):
            model.save(directory / f"{name}.{suffix}")
    return directory


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_keras_layers_tell(keras_models, suffix):
    found = inspect(keras_models / f"functional.{suffix}").metadata
    assert found["index_bounds"] == {"ids": 50}
    assert (found["input_domains"]["image"]["kind"], found["input_domains"]["image"]["high"]) == ("image", 255)
    (only,) = inspect(keras_models / f"sequential.{suffix}").metadata["input_domains"].values()
    assert (only["kind"], only["high"]) == ("image", 255)


def test_a_savedmodel_tells_through_the_functions_that_it_calls(keras_models, tmp_path, pool):
    import convkit

    converted = convkit.convert(keras_models / "functional.keras", "savedmodel", tmp_path / "m.savedmodel", pool=pool)
    found = inspect(converted.artifact.path).metadata
    assert found["index_bounds"] == {"ids": 50} and found["input_domains"]["image"]["high"] == 255
    assert set(converted.report.validation.domains) == {"image", "ids"}


def test_large_constants_and_those_beside_the_file_are_not_read(tmp_path):
    def saved(constant):
        image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
        result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
        graph = helper.make_graph([helper.make_node("Mul", ["x", "c"], ["y"])], "g", [image], [result], [constant])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "m.onnx")
        return inspect(tmp_path / "m.onnx").metadata

    assert "input_domains" in saved(numpy_helper.from_array(np.array([1 / 255], np.float32), "c"))
    assert "input_domains" not in saved(numpy_helper.from_array(np.full((1, 3, 8, 8), 1 / 255, np.float32), "c"))
    (tmp_path / "c.bin").write_bytes(np.float32(1 / 255).tobytes())
    outside = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    outside.external_data.add(key="location", value="c.bin")
    assert "input_domains" not in saved(outside)


@pytest.mark.parametrize(
    "constant",
    [
        TensorProto(name="c", data_type=TensorProto.COMPLEX64, dims=[1], float_data=[1.0, 0.0]),
        TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[3], raw_data=b"short"),
        TensorProto(name="c", data_type=TensorProto.STRING, dims=[1], string_data=[b"x"]),
        TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[0], raw_data=b""),
    ],
)
def test_constants_that_are_no_numbers_say_nothing_and_break_nothing(constant, tmp_path):
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 8, 8])
    graph = helper.make_graph([helper.make_node("Mul", ["x", "c"], ["y"])], "g", [image], [result], [constant])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "m.onnx")
    assert "input_domains" not in inspect(tmp_path / "m.onnx").metadata
