"""The same model with other roundings: what moves is rounding, and the model itself stays as it was."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from convkit.artifact import Artifact, PyTorchSource
from convkit.components import Variation
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.loading import onnx_variations, variations
from convkit.readers import inspect
from convkit.runtimes import litert, pytorch
from convkit.runtimes import onnx as onnx_runtime
from convkit.signature import Signature, parse_spec


def own(module, inputs):
    return module(*inputs)


class Named(nn.Module):
    """Says dtypes in more places than its weights, draws on a buffer, and changes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 16)
        self.register_buffer("table", torch.randn(4, 16))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        positions = torch.arange(x.shape[-1], dtype=torch.float32)
        return self.linear((x + positions).to(torch.float32) @ self.table.T @ self.table) + torch.ones(16)


@pytest.fixture
def named():
    torch.manual_seed(0)
    return Named().eval()


def test_float64_is_that_of_a_module_made_for_it(named):
    x = torch.randn(3, 16)
    with torch.no_grad():
        found = variations.in_float64(named, own, [x])
        wide = x.double() + torch.arange(16, dtype=torch.float64)
        table = named.table.double()
        wanted = nn.functional.linear(wide @ table.T @ table, named.linear.weight.double(), named.linear.bias.double()) + 1
        assert found.dtype is torch.float64 and torch.equal(found, wanted)
        narrow = named(x)
    assert narrow.dtype is torch.float32 and 0 < (narrow - found).abs().max() / found.abs().max() < 1e-6


def test_weights_move_by_a_last_bit_and_vectors_stay(named):
    before = {name: tensor.clone() for name, tensor in named.state_dict().items()}
    moved = variations.moved_weights(named)
    for name, tensor in before.items():
        apart = ((moved[name] - tensor).abs() / tensor.abs()).max()
        assert (0 < apart <= 2.0**-22) if tensor.ndim >= 2 else apart == 0, name
    x = torch.randn(3, 16)
    with torch.no_grad():
        other = variations.with_state(named, moved, own, [x])
        assert 0 < (other - named(x)).abs().max() / named(x).abs().max() < 1e-5
    assert all(torch.equal(named.state_dict()[name], tensor) for name, tensor in before.items())


def test_constants_that_mask_stay(tmp_path):
    mask = np.array([[0.5, -np.inf, np.finfo(np.float32).min, np.nan]], np.float32)
    module = nn.Module()
    module.register_buffer("mask", torch.from_numpy(mask))
    moved = variations.moved_weights(module)["mask"].numpy()
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(mask, "mask")])
    onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
    other = onnx.load_from_string(onnx_variations.moved_weights(tmp_path / "m.onnx")).graph.initializer[0]
    for found in (moved, numpy_helper.to_array(other)):
        assert np.array_equal(found[0, 1:], mask[0, 1:], equal_nan=True)
        assert abs(found[0, 0] - 0.5) < 1e-7


def test_onnx_weights_move_in_every_graph_and_sizes_stay(tmp_path):
    weights = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    scales = np.array([1.0, 2.0], np.float32)
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(weights, "c"))
    branch = helper.make_graph([constant], "b", [], [helper.make_tensor_value_info("c", TensorProto.FLOAT, [2, 3])])
    nodes = [helper.make_node("If", ["flag"], ["y"], then_branch=branch, else_branch=branch)]
    rows = (
        helper.make_tensor_value_info("flag", TensorProto.BOOL, []),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    )
    kept = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(scales, "scales")]
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", rows[:1], rows[1:], kept)), tmp_path / "m.onnx")
    model = onnx.load_from_string(onnx_variations.moved_weights(tmp_path / "m.onnx"))
    found = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    found["c"] = numpy_helper.to_array(model.graph.node[0].attribute[0].g.node[0].attribute[0].t)
    assert np.array_equal(found["scales"], scales)
    for name in ("w", "c"):
        apart = np.abs(found[name] - weights) / np.abs(weights)
        assert 0 < apart.max() <= 2.0**-22


def test_a_large_onnx_model_is_left_alone(tmp_path, monkeypatch, model):
    monkeypatch.setattr(onnx_variations, "_LARGEST", 1000)
    with pytest.raises(ConversionError, match="too large"):
        onnx_variations.moved_weights(model("digits_cnn", "onnx"))


@pytest.mark.parametrize(("runtime", "suffix"), [(onnx_runtime, "onnx"), (litert, "tflite"), (pytorch, "pt2")])
def test_every_variation_that_a_runtime_offers_gives_the_same_but_for_rounding(runtime, suffix, model, fixtures):
    info = inspect(model("digits_cnn", suffix))
    artifact = Artifact(info.variant, info.path, info.signature)
    feeds = {"image": np.load(fixtures / "digits_test.npz")["image"][:5]}
    wanted = runtime.load(artifact).run(feeds)["logits"]
    assert runtime.RUNTIME.variations
    for variation in runtime.RUNTIME.variations:
        found = runtime.load(artifact, variation=variation.value).run(feeds)["logits"]
        assert found.dtype == (np.float64 if variation is Variation.FLOAT64 else np.float32)
        apart = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert apart < 1e-5 and (apart > 0 or variation is Variation.THREADS), variation
    assert np.array_equal(runtime.load(artifact).run(feeds)["logits"], wanted)


def test_torchscript_is_not_computed_in_float64(model):
    signature = Signature((parse_spec("image:float32[batch,1,8,8]"),), (parse_spec("logits:float32[batch,10]"),))
    artifact = Artifact(Variant.TORCHSCRIPT, model("digits_cnn", "traced.pt"), signature, PyTorchSource())
    with pytest.raises(ConversionError, match="another precision"):
        pytorch.load(artifact, variation="float64")
