"""PyTorch → ONNX with torch's exporter: numbers, names, dimensions and versions, against torch itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import pytorch_to_onnx as converter
from convkit.errors import ConversionError, UsageError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.runtimes import onnx as runtime
from convkit.signature import Signature, TensorSpec, parse_spec
from tests.converters import torch_models as models


def converted(source: Artifact, path: Path, **options: object) -> onnx.ModelProto:
    converter.convert(ConversionRequest(source, path, source.signature, None, options))
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    return model


def inverse(tmp_path: Path) -> ConversionRequest:
    signature = Signature((parse_spec("x:float32[batch,3,3]"),), (parse_spec("output:float32[batch,3,3]"),))
    source = models.saved(models.Inverse(), signature, tmp_path / "m.pt2")
    return ConversionRequest(source, tmp_path / "m.onnx", signature)


@pytest.mark.parametrize("name", models.MODELS)
def test_numbers_and_signature_are_the_source_s(name: str, tmp_path: Path) -> None:
    module, signature = models.build(name)
    source = models.saved(module, signature, tmp_path / "m.pt2")
    assert all(f.verdict is Verdict.LEGAL for f in converter.check(ConversionRequest(source, tmp_path / "x", signature)))
    converted(source, tmp_path / "m.onnx")
    info = readers.inspect(tmp_path / "m.onnx")
    assert info.signature is not None
    assert signature.differences(info.signature) == []
    assert info.signature.dynamic_dims == ("batch",)
    models.assert_agrees(module, signature, runtime.load(Artifact(Variant.ONNX, tmp_path / "m.onnx", signature)))


class Limits(nn.Module):
    """Limits of two types, which torch's exporter promotes apart."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.clamp(x, 0, 1.0) + torch.clamp(x, -0.5, 1)


def test_limits_of_two_types(tmp_path: Path) -> None:
    signature = Signature((parse_spec("x:float32[batch,3]"),), (parse_spec("output:float32[batch,3]"),))
    source = models.saved(Limits(), signature, tmp_path / "m.pt2")
    converted(source, tmp_path / "m.onnx")
    models.assert_agrees(Limits(), signature, runtime.load(Artifact(Variant.ONNX, tmp_path / "m.onnx", signature)))


class Epsilons(nn.Module):
    """Constants that are nearly 0 or 1, which onnxscript's optimiser takes for these."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        positive = torch.relu(x)
        return torch.log(positive + 1e-12), torch.log(1e-9 + positive), positive * 1.000001 - positive


def test_what_is_nearly_nothing_is_not_left_out(tmp_path: Path) -> None:
    outputs = tuple(parse_spec(f"output_{k}:float32[batch,3]") for k in range(3))
    signature = Signature((parse_spec("x:float32[batch,3]"),), outputs)
    source = models.saved(Epsilons(), signature, tmp_path / "m.pt2")
    converted(source, tmp_path / "m.onnx")
    x = np.array([[0.0, -1.0, 2.0]], np.float32)
    got = runtime.load(Artifact(Variant.ONNX, tmp_path / "m.onnx", signature)).run({"x": x})
    for found, expected in zip(got.values(), Epsilons()(torch.from_numpy(x)), strict=True):
        np.testing.assert_allclose(found, expected.numpy(), rtol=1e-5)


def test_a_program_that_convkit_did_not_capture(tmp_path: Path) -> None:
    module, signature = models.build("sequential")
    source = models.saved(module, signature, tmp_path / "m.pt2", wrapped=False)
    converted(source, tmp_path / "m.onnx")
    models.assert_agrees(module, signature, runtime.load(Artifact(Variant.ONNX, tmp_path / "m.onnx", signature)))


def test_edges_take_the_signature_s_names_even_where_the_graph_uses_them_inside(tmp_path: Path) -> None:
    """`linear` is what torch calls the node, and `output` what it calls nothing: both become names of edges."""
    module, signature = models.build("sequential")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    renamed = signature.renamed(["relu"], ["conv2d"])
    model = converted(source.with_signature(renamed), tmp_path / "m.onnx")
    assert [v.name for v in (*model.graph.input, *model.graph.output)] == ["relu", "conv2d"]
    session = runtime.load(Artifact(Variant.ONNX, tmp_path / "m.onnx", renamed))
    feeds = models.arrays(signature, 3)
    got = session.run({"relu": feeds["input"]})["conv2d"]
    want = models.expected(module, signature, feeds)["output"]
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


def test_dimensions_have_the_signature_s_symbols_all_through_the_graph(tmp_path: Path) -> None:
    class Doubled(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([x.relu(), x], 1)

    signature = Signature((parse_spec("x:float32[batch,time,4]"),), (TensorSpec("y", "float32", ("batch", "y_dim1", 4)),))
    module = Doubled()
    source = models.saved(module, signature, tmp_path / "m.pt2")
    graph = converted(source, tmp_path / "m.onnx").graph
    shapes = {
        v.name: [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    assert shapes.pop("x") == ["batch", "time", 4]
    assert shapes.pop("y") == ["batch", "2*time", 4]
    assert shapes
    assert all(shape == ["batch", "time", 4] for shape in shapes.values())


@pytest.mark.parametrize(("opset", "ir_version"), [(18, 8), (20, 9), (21, 10)])
def test_the_opset_is_the_option_s_and_the_ir_version_the_lowest_for_it(opset: int, ir_version: int, tmp_path: Path) -> None:
    module, signature = models.build("attention")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    model = converted(source, tmp_path / "m.onnx", opset=str(opset))
    assert [(o.domain, o.version) for o in model.opset_import if o.domain == ""] == [("", opset)]
    assert model.ir_version == ir_version
    models.assert_agrees(module, signature, runtime.load(Artifact(Variant.ONNX, tmp_path / "m.onnx", signature)))


def test_an_opset_that_is_none_is_refused(tmp_path: Path) -> None:
    request = inverse(tmp_path)
    with pytest.raises(UsageError, match="opset 'newest'"):
        converter.convert(ConversionRequest(request.source, request.output, request.signature, None, {"opset": "newest"}))
    assert not request.output.exists()


def test_all_gaps_are_found_at_once_with_their_lines(tmp_path: Path) -> None:
    gaps = [f for f in converter.check(inverse(tmp_path)) if f.verdict is Verdict.GAP]
    assert [f.operator for f in gaps] == ["aten.cummax.default", "aten.linalg_inv.default"]
    assert all(f.count == 1 and "torch_models.py:" in f.where[0] for f in gaps)


def test_a_forced_conversion_names_all_gaps(tmp_path: Path) -> None:
    request = inverse(tmp_path)
    with pytest.raises(ConversionError, match=r"aten\.linalg_inv\.default at .*aten\.cummax\.default at "):
        converter.convert(request)
    assert not request.output.exists()


def test_no_paths_of_the_machine_are_in_the_file(tmp_path: Path) -> None:
    module, signature = models.build("attention")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    converted(source, tmp_path / "m.onnx")
    assert str(Path(__file__).parent).encode() not in (tmp_path / "m.onnx").read_bytes()


def test_large_weights_go_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(converter, "SINGLE_FILE_LIMIT", 1000)
    module, signature = models.build("attention")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    converter.convert(ConversionRequest(source, tmp_path / "m.onnx", signature))
    tensors = onnx.load(tmp_path / "m.onnx", load_external_data=False).graph.initializer
    locations = {e.value for t in tensors for e in t.external_data if e.key == "location"}
    assert locations == {"m.onnx.data"}
    assert (tmp_path / "m.onnx.data").stat().st_size > (tmp_path / "m.onnx").stat().st_size / 10
    models.assert_agrees(module, signature, runtime.load(Artifact(Variant.ONNX, tmp_path / "m.onnx", signature)))


def test_a_signature_of_another_program_is_refused(tmp_path: Path) -> None:
    module, signature = models.build("difference")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    wrong = Signature(signature.inputs, signature.outputs[:1])
    with pytest.raises(ConversionError, match="2 outputs, the signature 1"):
        converter.convert(ConversionRequest(source, tmp_path / "m.onnx", wrong))
