"""PyTorch → ExecuTorch: numbers and names in ExecuTorch's own runtime, and the compiler's known defects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from convkit import readers
from convkit.artifact import Artifact
from convkit.components import ConversionOutcome, ConversionRequest
from convkit.converters import pytorch_to_executorch as converter
from convkit.errors import ConversionError, UsageError
from convkit.formats import Variant
from convkit.legalization.target import Verdict
from convkit.loading import pytorch as loading
from convkit.runtimes import executorch as runtime
from convkit.signature import Signature, parse_spec
from tests.converters import torch_models as models


def converted(source: Artifact, path: Path, **options: object) -> ConversionOutcome:
    return converter.convert(ConversionRequest(source, path, source.signature, None, options))


def session(path: Path, signature: Signature) -> runtime.ExecuTorchSession:
    return runtime.load(Artifact(Variant.PTE, path, signature))


@pytest.mark.parametrize("name", [n for n in models.MODELS if n != "sequential"])
def test_numbers_and_signature_are_the_source_s(name: str, tmp_path: Path) -> None:
    module, signature = models.build(name)
    source = models.saved(module, signature, tmp_path / "m.pt2")
    assert all(f.verdict is Verdict.LEGAL for f in converter.check(ConversionRequest(source, tmp_path / "x", signature)))
    outcome = converted(source, tmp_path / "m.pte")
    info = readers.inspect(tmp_path / "m.pte")
    assert info.signature is not None
    assert signature.differences(info.signature) == []
    assert "delegate:XnnpackBackend" in info.operators
    assert any("batch: at most 64" in note for note in outcome.notes)
    models.assert_agrees(module, signature, session(tmp_path / "m.pte", signature))


def test_a_root_sequential_with_batch_norm_needs_other_weight_names(tmp_path: Path) -> None:
    """pytorch/executorch#21541: names that start with a digit break the fusion of batch norm."""
    module, signature = models.build("sequential")
    source = models.saved(module, signature, tmp_path / "m.pt2", wrapped=False)
    outcome = converted(source, tmp_path / "m.pte")
    assert any("21541" in note for note in outcome.notes)
    assert not any("XNNPACK cannot" in note for note in outcome.notes)
    models.assert_agrees(module, signature, session(tmp_path / "m.pte", signature))


def test_max_pooling_without_stride_is_delegated_all_the_same(tmp_path: Path) -> None:
    """pytorch/executorch#21488: the partitioner fails on a missing stride."""
    module, signature = models.build("pooling")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    outcome = converted(source, tmp_path / "m.pte")
    assert any("21488" in note for note in outcome.notes)
    assert not any("max_pool" in operator for operator in readers.inspect(tmp_path / "m.pte").operators)


@pytest.mark.parametrize("strides", ["expanded", "channels last"])
def test_an_example_with_odd_strides_does_not_bind_the_file(strides: str, tmp_path: Path) -> None:
    """A stride of 0 is refused by the compiler; a channels-last input makes the runtime refuse plain ones."""
    channels = 1 if strides == "expanded" else 3
    shape = f"float32[batch,{channels},8,8]"
    signature = Signature((parse_spec(f"x:{shape}"),), (parse_spec("output:float32[batch,4,6,6]"),))
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.ReLU()).eval()
    example = torch.randn(2, channels, 8, 8)
    example = (
        example[:, 0].unsqueeze(1).expand(-1, 1, -1, -1).as_strided((2, 1, 8, 8), (64, 0, 8, 1))
        if (channels == 1)
        else example.to(memory_format=torch.channels_last)
    )
    program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    torch.export.save(program, tmp_path / "m.pt2")
    outcome = converted(Artifact(Variant.EXPORTED_PROGRAM, tmp_path / "m.pt2", signature), tmp_path / "m.pte")
    assert any("contiguous" in note for note in outcome.notes)
    models.assert_agrees(module, signature, session(tmp_path / "m.pte", signature))


def test_the_portable_backend_delegates_nothing(tmp_path: Path) -> None:
    module, signature = models.build("sequential")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    converted(source, tmp_path / "m.pte", backend="portable")
    assert not any("delegate" in operator for operator in readers.inspect(tmp_path / "m.pte").operators)
    models.assert_agrees(module, signature, session(tmp_path / "m.pte", signature))


def test_when_xnnpack_fails_the_rest_is_tried_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The most ambitious program is refused, as one is that does not run."""
    module, signature = models.build("sequential")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    real, tried = converter._try_out, []

    def refuse_first(compiled: object, request: ConversionRequest, inputs: object) -> None:
        tried.append(compiled)
        if len(tried) == 1:
            raise RuntimeError("error 0x12")
        real(compiled, request, inputs)

    monkeypatch.setattr(converter, "_try_out", refuse_first)
    notes = converted(source, tmp_path / "m.pte").notes
    assert notes[-1] == (
        "only convolutions and matrix products are delegated: XNNPACK cannot take all of it (RuntimeError: error 0x12)"
    )
    assert "delegate:XnnpackBackend" in readers.inspect(tmp_path / "m.pte").operators
    models.assert_agrees(module, signature, session(tmp_path / "m.pte", signature))


def test_a_dimension_that_the_compiler_makes_static_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler's own verifier makes `batch` 2 in this model; convkit leaves it out, and would notice."""
    import executorch.exir

    module, signature = models.build("attention")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    plain = executorch.exir.EdgeCompileConfig
    monkeypatch.setattr(executorch.exir, "EdgeCompileConfig", lambda **_: plain(_check_ir_validity=True))
    with pytest.raises(ConversionError, match="made the dynamic dimension batch static"):
        converted(source, tmp_path / "m.pte", backend="portable")
    monkeypatch.undo()
    converted(source, tmp_path / "m.pte", backend="portable")
    models.assert_agrees(module, signature, session(tmp_path / "m.pte", signature))


def test_a_scan_carries_and_stacks_what_has_a_dynamic_size(tmp_path: Path) -> None:
    from torch._higher_order_ops.scan import scan

    class Recurrent(nn.Module):
        def forward(self, state: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            def step(state: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                state = torch.tanh(state + x)
                return state, state * 2

            last, rows = scan(step, state, x)
            return last, rows

    inputs = [parse_spec("state:float32[batch,4]"), parse_spec("x:float32[steps,batch,4]")]
    outputs = [parse_spec("last:float32[batch,4]"), parse_spec("rows:float32[steps,batch,4]")]
    signature = Signature(tuple(inputs), tuple(outputs))
    source = models.saved(Recurrent(), signature, tmp_path / "m.pt2")
    converted(source, tmp_path / "m.pte")
    runner = session(tmp_path / "m.pte", signature)
    for batch, steps in ((3, 5), (1, 2), (7, 1), (2, 9)):
        feeds = {"state": np.random.rand(batch, 4).astype("f"), "x": np.random.rand(steps, batch, 4).astype("f")}
        wanted = Recurrent()(*(torch.from_numpy(v) for v in feeds.values()))
        for name, tensor in zip(("last", "rows"), wanted, strict=True):
            np.testing.assert_allclose(runner.run(feeds)[name], tensor.numpy(), rtol=1e-5, atol=1e-6)


def test_a_scan_looks_at_what_it_carries(tmp_path: Path) -> None:
    """A counter that picks a row: reshaped to an index, it is still the counter."""
    from torch._higher_order_ops.scan import scan

    class Picking(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            def step(count: torch.Tensor, row: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
                return count + 1, row + 10 * x.index_select(0, count.reshape(1)).squeeze(0)

            _, rows = scan(step, torch.zeros((), dtype=torch.int64), x.flip(0))
            return rows

    signature = Signature((parse_spec("x:float32[steps,4]"),), (parse_spec("rows:float32[steps,4]"),))
    converted(models.saved(Picking(), signature, tmp_path / "m.pt2"), tmp_path / "m.pte")
    x = np.random.rand(6, 4).astype("f")
    got = session(tmp_path / "m.pte", signature).run({"x": x})["rows"]
    np.testing.assert_allclose(got, Picking()(torch.from_numpy(x)).numpy(), rtol=1e-5)


def test_the_upper_bound_is_the_option_s_and_the_source_keeps_its_own(tmp_path: Path) -> None:
    module, signature = models.build("difference")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    before = str(loading.exported_program(source).range_constraints)
    outcome = converted(source, tmp_path / "m.pte", upper_bound="7")
    assert any("batch: at most 7" in note for note in outcome.notes)
    assert str(loading.exported_program(source).range_constraints) == before
    runner = session(tmp_path / "m.pte", signature)
    assert runner.run(models.arrays(signature, 7))["same"].shape == (7, 3)
    with pytest.raises(ConversionError, match="upper bound"):
        runner.run(models.arrays(signature, 8))


@pytest.mark.parametrize(("option", "value"), [("backend", "gpu"), ("upper_bound", "many"), ("upper_bound", 0)])
def test_values_that_are_none_are_refused(option: str, value: object, tmp_path: Path) -> None:
    module, signature = models.build("difference")
    source = models.saved(module, signature, tmp_path / "m.pt2")
    with pytest.raises(UsageError):
        converted(source, tmp_path / "m.pte", **{option: value})
    assert not (tmp_path / "m.pte").exists()


def test_gaps_are_found_with_their_lines_before_and_named_after(tmp_path: Path) -> None:
    signature = Signature((parse_spec("x:float32[batch,3,3]"),), (parse_spec("output:float32[batch,3,3]"),))
    source = models.saved(models.Inverse(), signature, tmp_path / "m.pt2")
    request = ConversionRequest(source, tmp_path / "m.pte", signature)
    gaps = [f for f in converter.check(request) if f.verdict is Verdict.GAP]
    assert [f.operator for f in gaps] == ["aten.cummax.default", "aten.linalg_inv.default"]
    assert all("torch_models.py:" in f.where[0] for f in gaps)
    with pytest.raises(ConversionError, match=r"no kernel for aten\.linalg_inv\.default at .*aten\.cummax\.default at "):
        converter.convert(request)


def test_masked_attention_is_still_fused(tmp_path: Path) -> None:
    """The pattern search that is skipped for other graphs is not skipped for this one."""

    class Masked(nn.Module):
        def forward(self, q: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            return F.scaled_dot_product_attention(q, q, q, attn_mask=mask)

    signature = Signature(
        (parse_spec("q:float32[1,2,6,8]"), parse_spec("mask:float32[6,6]")), (parse_spec("output:float32[1,2,6,8]"),)
    )
    module = Masked()
    source = models.saved(module, signature, tmp_path / "m.pt2")
    converted(source, tmp_path / "m.pte")
    feeds = models.arrays(signature, 1)
    want = models.expected(module, signature, feeds)["output"]
    got = session(tmp_path / "m.pte", signature).run(feeds)["output"]
    assert np.abs(got - want).max() <= 1e-5 * np.abs(want).max()


class HalfAttention(nn.Module):
    def forward(self, query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
        return F.gelu(torch.softmax(query @ key, -1)) / (1 + key.abs().mean())


def test_of_float16_only_products_are_delegated(tmp_path: Path) -> None:
    """XNNPACK's other float16 kernels are missing or coarse on most processors."""
    generator = torch.Generator().manual_seed(0)
    signature = Signature(
        tuple(map(parse_spec, ("query:float16[2,8,16]", "key:float16[2,16,8]"))), (parse_spec("y:float16[2,8,8]"),)
    )
    feeds = {t.name: torch.randn(t.shape, generator=generator).half().numpy() for t in signature.inputs}
    source = models.saved(HalfAttention(), signature, tmp_path / "m.pt2")
    converted(source, tmp_path / "m.pte")
    assert "delegate:XnnpackBackend" in readers.inspect(tmp_path / "m.pte").operators
    (got,) = session(tmp_path / "m.pte", signature).run(feeds).values()
    expected = HalfAttention()(*map(torch.from_numpy, feeds.values()))
    np.testing.assert_allclose(got, expected.numpy(), rtol=0, atol=2 * np.finfo(np.float16).eps * float(expected.abs().max()))


class Found(nn.Module):
    def forward(self, scores: torch.Tensor) -> torch.Tensor:
        found = torch.nonzero(scores > 0)
        torch._check(found.shape[0] <= scores.numel())
        return found * 2


@pytest.mark.parametrize("scores", [[1.0, -1.0, 2.0, 0.5], [-1.0, -1.0, -1.0, -1.0], [1.0, 1.0, 1.0, 1.0]])
def test_a_result_whose_size_the_data_tell_is_planned_at_its_bound(scores: list[float], tmp_path: Path) -> None:
    signature = Signature((parse_spec("scores:float32[2,2]"),), (parse_spec("found:int64[n,2]"),))
    source = models.saved(Found(), signature, tmp_path / "m.pt2")
    assert not any(f.verdict is Verdict.GAP for f in converter.check(ConversionRequest(source, tmp_path / "x", signature)))
    converted(source, tmp_path / "m.pte")
    feeds = np.asarray(scores, np.float32).reshape(2, 2)
    (got,) = session(tmp_path / "m.pte", signature).run({"scores": feeds}).values()
    np.testing.assert_array_equal(got, np.argwhere(feeds > 0) * 2)


class Function(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x.to("cpu", torch.float64, non_blocking=True) * 2,
        lambda x: torch.gather(x, 1, torch.tensor([[2, 0], [1, 1]], dtype=torch.int32)),
        lambda x: torch.log_softmax(x, 1, torch.float64),
        lambda x: F.gelu(x, approximate="tanh"),
        lambda x: F.batch_norm(x, None, None, training=True),
        lambda x: torch.ops.aten.max_pool2d_with_indices_backward(
            torch.ones(1, 1, 1, 2), x[None, None], [2, 2], [2, 2], [0, 0], [1, 1], True, torch.tensor([[[[3, 2]]]])
        ),
        lambda x: torch.narrow_copy(x, -1, 1, 2),
    ],
    ids=[
        "a copy that does not block",
        "narrow indices",
        "float64",
        "another GELU",
        "statistics of the batch",
        "a gradient",
        "an axis from the end",
    ],
)
def test_what_a_kernel_does_not_take_is_brought_to_what_it_takes(
    function: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path
) -> None:
    """Each is an error of the kernel at run time (0x12), or wrong, in executorch 1.4.1 as it is."""
    x = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.25, -1.0]])
    expected = function(x)
    dtype, shape = str(expected.dtype).removeprefix("torch."), ",".join(map(str, expected.shape))
    signature = Signature((parse_spec("x:float32[2,3]"),), (parse_spec(f"y:{dtype}[{shape}]"),))
    source = models.saved(Function(function), signature, tmp_path / "m.pt2")
    assert not any(f.verdict is Verdict.GAP for f in converter.check(ConversionRequest(source, tmp_path / "x", signature)))
    converted(source, tmp_path / "m.pte")
    (got,) = session(tmp_path / "m.pte", signature).run({"x": x.numpy()}).values()
    np.testing.assert_allclose(got, expected.numpy(), rtol=1e-6)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: F.layer_norm(x, [64]),
        lambda x: F.group_norm(x, 4),
        lambda x: F.instance_norm(x),
        lambda x: F.batch_norm(x, None, None, training=True),
    ],
    ids=["layer", "group", "instance", "batch"],
)
def test_norms_are_right_far_from_zero(function: Callable[[torch.Tensor], torch.Tensor], tmp_path: Path) -> None:
    """The kernels' variances, E[x²] - E[x]², are off by 1e-3 here (executorch 1.4.1)."""
    x = torch.randn(2, 8, 64, generator=torch.Generator().manual_seed(0)) + 30
    signature = Signature((parse_spec("x:float32[2,8,64]"),), (parse_spec("y:float32[2,8,64]"),))
    converted(models.saved(Function(function), signature, tmp_path / "m.pt2"), tmp_path / "m.pte")
    (got,) = session(tmp_path / "m.pte", signature).run({"x": x.numpy()}).values()
    np.testing.assert_allclose(got, function(x.double()).numpy(), atol=3e-5)


def test_splits_at_places_from_the_data_are_refused(tmp_path: Path) -> None:
    class Split(nn.Module):
        def forward(self, x: torch.Tensor, places: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return torch.tensor_split(x, places)

    inputs = (torch.randn(6), torch.tensor([2, 3]))
    signature = Signature(
        (parse_spec("x:float32[6]"), parse_spec("places:int64[2]")), tuple(parse_spec(f"y{i}:float32[n{i}]") for i in range(3))
    )
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(Split(), inputs), path)
    request = ConversionRequest(Artifact(Variant.EXPORTED_PROGRAM, path, signature), tmp_path / "m.pte", signature)
    (gap,) = [f for f in converter.check(request) if f.verdict is Verdict.GAP]
    assert gap.operator == "aten.tensor_split.tensor_indices_or_sections"
    assert "depends on the data" in gap.reason


class UpsampledTokens(nn.Module):
    """Tokens as an image in channels-last order, shuffled into a larger one, and moved by a row."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)
        self.mean = nn.Buffer(torch.rand(1, 3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        image = x.transpose(1, 2).view(1, 12, 4, 4)
        return self.convolution(F.pixel_shuffle(image, 2)) / 2.0 + self.mean


class ShiftedTokens(nn.Module):
    """Every token's predecessor, as RWKV takes it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x - F.pad(x, (0, 0, 1, -1))


class WithSelection(nn.Module):
    """As many of the best as pass, at most five, in order, and zeros behind them."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = torch.nonzero(x > 0)
        torch._check(found.shape[0] <= 12)
        best, _ = x[found[:, 0]].sort(descending=True, stable=True)
        count = torch.clamp((x > 0).sum(), max=5).item()
        torch._check(count >= 0)
        torch._check(count <= best.shape[0])
        return F.pad(best[:count], (0, 5)) * 2.0


@pytest.mark.parametrize(
    ("module", "spec"),
    [(UpsampledTokens(), "x:float32[1,16,12]"), (ShiftedTokens(), "x:float32[2,6,4]"), (WithSelection(), "x:float32[12]")],
)
def test_what_kernels_and_memory_plans_are_particular_about(module: nn.Module, spec: str, tmp_path: Path) -> None:
    given = parse_spec(spec)
    torch.manual_seed(0)
    x = torch.randn(*given.shape)
    expected = module(x)
    shape = ",".join(str(size) for size in expected.shape) if not isinstance(module, WithSelection) else "found"
    signature = Signature((given,), (parse_spec(f"y:float32[{shape}]"),))
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(module, (x,), strict=False), path)
    source = Artifact(Variant.EXPORTED_PROGRAM, path, signature)
    assert all(f.verdict is not Verdict.GAP for f in converter.check(ConversionRequest(source, tmp_path / "x", signature)))
    converted(source, tmp_path / "m.pte", backend="portable")
    (got,) = session(tmp_path / "m.pte", signature).run({"x": x.numpy()}).values()
    np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-4, atol=1e-5)


def test_an_input_that_the_model_changes_in_place_is_no_output(tmp_path: Path) -> None:
    class Changes(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x[:, 0].mul_(2)
            return x.clone()

    signature = Signature((parse_spec("x:float32[2,3]"),), (parse_spec("y:float32[2,3]"),))
    path = tmp_path / "m.pt2"
    torch.export.save(torch.export.export(Changes(), (torch.randn(2, 3),)), path)
    converted(Artifact(Variant.EXPORTED_PROGRAM, path, signature), tmp_path / "m.pte")
    x = torch.randn(2, 3)
    (got,) = session(tmp_path / "m.pte", signature).run({"x": x.numpy()}).values()
    np.testing.assert_allclose(got, Changes()(x.clone()).numpy())


def _scaled_linear() -> nn.Linear:
    """A linear layer whose weight is kept in 8 bits with a scale per channel; as torchao's are, its class is still torch's."""
    layer = nn.Linear(16, 8)
    layer.register_buffer("levels", torch.randint(-128, 128, (8, 16), dtype=torch.int8))
    layer.register_buffer("scale", torch.rand(8) / 100)
    layer.forward = lambda x: torch.mm(x, layer.levels.t().to(torch.float32)) * layer.scale + layer.bias
    return layer


def test_what_a_linear_layer_computes_besides_its_product_is_kept(tmp_path: Path) -> None:
    """XNNPACK's passes take a whole `nn.Linear` for one operator."""
    signature = Signature((parse_spec("x:float32[3,16]"),), (parse_spec("y:float32[3,8]"),))
    module, x = nn.Sequential(_scaled_linear(), nn.ReLU()).eval(), torch.randn(3, 16)
    torch.export.save(torch.export.export(module, (x,)), tmp_path / "m.pt2")
    outcome = converted(Artifact(Variant.EXPORTED_PROGRAM, tmp_path / "m.pt2", signature), tmp_path / "m.pte")
    assert not any("portable" in note for note in outcome.notes)
    (got,) = session(tmp_path / "m.pte", signature).run({"x": x.numpy()}).values()
    np.testing.assert_allclose(got, module(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_tensor_that_is_made_empty_and_filled_keeps_its_dynamic_size(tmp_path: Path) -> None:
    class Fills(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = x.new_empty(x.shape[0], 6)
            made[:, :3], made[:, 3:] = x, -x
            return made

    signature = Signature((parse_spec("x:float32[n,3]"),), (parse_spec("y:float32[n,6]"),))
    exported = torch.export.export(Fills(), (torch.randn(4, 3),), dynamic_shapes=({0: torch.export.Dim("n", max=16)},))
    torch.export.save(exported, tmp_path / "m.pt2")
    converted(Artifact(Variant.EXPORTED_PROGRAM, tmp_path / "m.pt2", signature), tmp_path / "m.pte")
    for rows in (2, 16):
        x = torch.randn(rows, 3)
        (got,) = session(tmp_path / "m.pte", signature).run({"x": x.numpy()}).values()
        np.testing.assert_allclose(got, Fills()(x).numpy())
