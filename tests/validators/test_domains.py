"""Which domain an input has, where several things tell one."""

from __future__ import annotations

from pathlib import Path

import pytest

from convkit.artifact import ModelInfo
from convkit.formats import Variant
from convkit.signature import Signature, TensorSpec
from convkit.validators.domains import Kind, channel_axis, domains_of, told


def info(**metadata):
    return ModelInfo(Variant.ONNX, Path("m.onnx"), 1, metadata=metadata)


def domain(spec, *infos):
    return domains_of(infos, Signature((spec,), ())).get(spec.name)


@pytest.mark.parametrize(
    "name", ["attention_mask", "mask", "src_key_padding_mask", "pixel.mask", "decoder_attention_mask_1", "inputMask", "MASK"]
)
def test_a_mask_is_known_by_its_name(name):
    assert domain(TensorSpec(name, "int64", ("n", 8))).kind is Kind.MASK


@pytest.mark.parametrize("name", ["masked_lm", "unmask_me", "taskmaster", "damask"])
def test_other_names_say_nothing(name):
    assert domain(TensorSpec(name, "int64", ("n", 8))) is None


def test_the_smallest_table_of_both_sides_bounds_indices_before_anything_else():
    spec = TensorSpec("mask", "int64", ("n", 8))
    found = domain(spec, info(index_bounds={"mask": 30}), info(index_bounds={"mask": 20}))
    assert (found.kind, found.low, found.high) == (Kind.INDICES, 0, 19)


def test_the_graph_says_more_than_the_name_and_the_shape():
    recorded = {"kind": "image", "low": 0, "high": 1, "evidence": "it is normalised"}
    found = domain(TensorSpec("mask", "float32", (1, 1, 8, 8)), None, info(input_domains={"mask": recorded}))
    assert (found.kind, found.high) == (Kind.IMAGE, 1)
    assert told({"mask": found}) == {"mask": "image in [0, 1]: it is normalised"}


def test_bytes_in_the_shape_of_images_are_pixels_and_floats_of_an_unknown_range():
    assert domain(TensorSpec("x", "uint8", ("n", 8, 8, 3))).high == 255
    floats = domain(TensorSpec("x", "float32", ("n", 3, 8, 8)))
    assert floats.kind is Kind.IMAGE and not floats.is_bounded and told({"x": floats}) == {}
    assert domain(TensorSpec("x", "float32", ("n", 16, 8, 8))) is None
    assert domain(TensorSpec("probabilities", "float32", ("n", 10))).kind is Kind.PROBABILITIES


@pytest.mark.parametrize(
    ("shape", "axis"),
    [(("n", 3, 8, 8), 1), (("n", 8, 8, 3), 3), (("n", 1, 8, 8), 1), ((1, 8, 8, 1), 3), ((1, 1, 8, 3), 3), ((1, 2, 3), None)],
)
def test_the_axis_of_the_channels(shape, axis):
    assert channel_axis(TensorSpec("x", "float32", shape)) == axis
