"""PyTorch → LiteRT with litert-torch: the numbers, the signature and the sizes of a file, against torch itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn
from torch.export import Dim

from convkit.artifact import Artifact
from convkit.components import ConversionRequest
from convkit.converters import pytorch_to_litert as converter
from convkit.errors import ConversionError
from convkit.formats import Variant
from convkit.legalization.target import Finding, Verdict
from convkit.readers import inspect
from convkit.runtimes import litert
from convkit.signature import Signature, TensorSpec

FIXTURES = Path(__file__).parents[2] / "fixtures"
BATCH, LENGTH = Dim("batch", min=1, max=512), Dim("length", min=3, max=64)
HEIGHT, WIDTH = Dim("height", min=17, max=80), Dim("width", min=17, max=80)


class Model(nn.Module):
    """A function with the modules that it uses, so that a test model fits on a line."""

    def __init__(self, function: Callable[..., Any], *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x: torch.Tensor) -> Any:
        return self.function(x, *self.parts)


class Transformer(nn.Module):
    """A block with exact GELU over token embeddings; positions are learned, counted or a sliced table."""

    def __init__(self, positions: str) -> None:
        super().__init__()
        self.tokens, self.table, self.positions = nn.Embedding(20, 16), nn.Embedding(64, 16), positions
        self.learned, self.cls = nn.Parameter(torch.randn(1, 8, 16)), nn.Parameter(torch.randn(1, 1, 16))
        self.qkv, self.norm, self.out = nn.Linear(16, 48), nn.LayerNorm(16), nn.Linear(16, 5)
        self.mlp = nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.tokens(tokens)
        if self.positions == "learned":
            x = x + self.learned
        elif self.positions == "counted":
            x = x + self.table(torch.arange(x.shape[1]))
        elif self.positions == "sliced":
            x = x + self.table.weight[: x.shape[1]]
        else:
            x = torch.cat([self.cls.expand(x.shape[0], -1, -1), x], 1)
        batch, length, width = x.shape
        q, k, v = self.qkv(self.norm(x)).view(batch, length, 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
        x = x + F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(batch, length, width)
        x = x + self.mlp(x)
        return self.out(x[:, 0] if self.positions == "cls" else x.mean(1))  # type: ignore[no-any-return]


def convolutional() -> nn.Module:
    body = [nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, 2, 1)]
    return nn.Sequential(*body, nn.Flatten(), nn.Linear(64, 10))


def residual() -> Model:
    parts = nn.Conv2d(3, 8, 7, 2, 3), nn.MaxPool2d(3, 2, 1), nn.Conv2d(8, 8, 3, 2, 1), nn.Conv2d(8, 8, 1, 2)
    return Model(lambda x, stem, pool, a, b: (y := pool(stem(x)), (a(y) + b(y)).mean((2, 3)))[1], *parts)


def export(model: nn.Module, inputs: tuple[torch.Tensor, ...], dynamic: Sequence[Any]) -> torch.export.ExportedProgram:
    return torch.export.export(model.eval(), inputs, dynamic_shapes=tuple(dynamic))


def request_for(program: torch.export.ExportedProgram, folder: Path) -> ConversionRequest:
    """A request for a saved program: inputs `in_0`, …, outputs `out_0`, …, dynamic dimensions by torch's symbols."""
    file = folder / "model.pt2"
    torch.export.save(program, file)

    def specs(prefix: str, names: Sequence[str]) -> tuple[TensorSpec, ...]:
        values = [next(n.meta["val"] for n in program.graph.nodes if n.name == name) for name in names]
        shapes = [tuple(d if isinstance(d, int) else str(d) for d in v.shape) for v in values]
        return tuple(
            TensorSpec(f"{prefix}_{i}", str(v.dtype).removeprefix("torch."), s)
            for i, (v, s) in enumerate(zip(values, shapes, strict=True))
        )

    signature = program.graph_signature
    wanted = Signature(specs("in", signature.user_inputs), specs("out", signature.user_outputs))
    return ConversionRequest(Artifact(Variant.EXPORTED_PROGRAM, file, wanted), folder / "model.tflite", wanted)


def converted(program: torch.export.ExportedProgram, folder: Path) -> tuple[litert.LiteRTSession, list[Finding]]:
    request = request_for(program, folder)
    findings = converter.check(request)
    assert not [f for f in findings if f.verdict is Verdict.GAP]
    converter.convert(request)
    session = litert.load(Artifact(Variant.TFLITE, request.output, request.signature))
    assert request.signature is not None
    assert request.signature.differences(session.signature) == []
    return session, findings


def assert_agrees(session: litert.LiteRTSession, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    with torch.no_grad():
        wanted = [t.numpy() for t in torch.utils._pytree.tree_leaves(model(*inputs))]
    got = session.run({f"in_{i}": x.numpy() for i, x in enumerate(inputs)})
    assert len(got) == len(wanted)
    for mine, theirs in zip(wanted, got.values(), strict=True):
        assert theirs.shape == mine.shape and theirs.dtype == mine.dtype
        scale = np.abs(mine.astype(np.float64)).max()
        assert scale > 0
        assert np.abs(mine.astype(np.float64) - theirs).max() <= 1e-5 * scale


B = {0: BATCH}
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[int, Any]]] = {
    "cnn": (convolutional, (3, 1, 8, 8), B),
    "lstm": (lambda: Model(lambda x, r, o: o(r(x)[0][:, -1]), nn.LSTM(4, 6, batch_first=True), nn.Linear(6, 3)), (3, 8, 4), B),
    "gru": (lambda: Model(lambda x, r: r(x), nn.GRU(4, 6, batch_first=True)), (3, 4, 4), B),
    "transformer": (lambda: Transformer("learned"), (3, 8), B),
    "transformer, both dims, counted": (lambda: Transformer("counted"), (3, 9), {0: BATCH, 1: LENGTH}),
    "transformer, both dims, sliced": (lambda: Transformer("sliced"), (3, 9), {0: BATCH, 1: LENGTH}),
    "transformer, both dims, cls": (lambda: Transformer("cls"), (3, 9), {0: BATCH, 1: LENGTH}),
    "image of any size": (residual, (3, 3, 32, 32), {0: BATCH, 2: HEIGHT, 3: WIDTH}),
    "transposed convolution": (
        lambda: Model(lambda x, c: c(x), nn.ConvTranspose2d(4, 6, 3, 2, 1, 1)), (3, 4, 32, 32), {0: BATCH, 2: HEIGHT, 3: WIDTH},
    ),
    "resize": (lambda: Model(lambda x: (F.interpolate(x, scale_factor=2.0), F.interpolate(x, scale_factor=2.0, mode="bilinear"))),
               (3, 4, 20, 20), {0: BATCH, 2: HEIGHT}),
    "norms": (lambda: Model(lambda x, g, i: (g(x), i(x)), nn.GroupNorm(2, 8), nn.InstanceNorm2d(8, affine=True)),
              (3, 8, 5, 5), B),
    "norms of any size": (lambda: Model(lambda x, g, i: (g(x), i(x)), nn.GroupNorm(2, 4), nn.InstanceNorm2d(4)),
                          (3, 4, 20, 20), {0: BATCH, 2: HEIGHT, 3: WIDTH}),
    "causal": (lambda: Model(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True)), (3, 9, 4),
               {0: BATCH, 1: LENGTH}),
    "statistics": (lambda: Model(lambda x: (x.mean(1), x.std(1), x * x.mean(0), x.sum(1) / x.shape[1])), (3, 9, 4),
                   {0: BATCH, 1: LENGTH}),
    "slices": (lambda: Model(lambda x: (x[:, -1], x[:, 1:], x[:, :-1], x[:, -2:], x.roll(1, 1), x.flip(1))), (3, 9, 4),
               {0: BATCH, 1: LENGTH}),
    "indexing": (lambda: Model(lambda x: (x[torch.arange(x.shape[0]), x.argmax(1)], x.index_select(0, x.argmax(0)))), (3, 8), B),
    "rearranging": (
        lambda: Model(lambda x: (F.pixel_shuffle(x, 2), x.roll((1, 2), (2, 3)), F.pad(x, (1, 2, 0, 1)), x[:, [2, 0]])),
        (3, 4, 5, 5), B,
    ),
    "choosing": (
        lambda: Model(lambda x: (F.softmax(x, -1), x.argmax(-1), x.sort(1)[1], x.gather(1, x.argsort(1)[:, :3]))), (3, 8), B,
    ),
    "convolutions": (
        lambda: Model(lambda x, a, b, n: (a(x), b(x), n(x)), nn.Conv1d(8, 8, 3, groups=8, padding=1), nn.Conv1d(8, 4, 3),
                      nn.BatchNorm1d(8)), (3, 8, 9), B,
    ),
    "constants": (lambda: Model(lambda x: (torch.cat([x, torch.ones_like(x)], 1), 1 + torch.arange(x.shape[0]))), (3, 8), B),
}  # fmt: skip


# The default run keeps one of each kind.
SLOW = {"gru", "transformer", "transformer, both dims, sliced", "norms", "convolutions", "resize"}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in MODELS])
def test_keeps_dynamic_dimensions(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    build, shape, dynamic = MODELS[name]
    model, tokens = build(), name.startswith("transformer")

    def sample(sizes: Sequence[int]) -> torch.Tensor:
        return torch.randint(0, 20, sizes) if tokens else torch.randn(*sizes)

    session, _ = converted(export(model, (sample(shape),), [dynamic]), tmp_path)
    # The last ones exceed every prime that a program is pinned to.
    for batch, other in ((1, 20), (2, 33), (5, 18), (7, 64), (1, 19), (97, 61)):
        sizes = [batch if axis == 0 else other if axis in dynamic else n for axis, n in enumerate(shape)]
        assert_agrees(session, model, (sample(sizes),))


@pytest.mark.parametrize("model", ["digits_cnn", "digits_transformer", pytest.param("digits_lstm", marks=pytest.mark.slow)])
def test_trained_models(model: str, tmp_path: Path) -> None:
    info = inspect(FIXTURES / model / f"{model}.pt2")
    signature, program = info.signature, torch.export.load(info.path).module()
    assert signature is not None
    request = ConversionRequest(Artifact(info.variant, info.path, signature), tmp_path / "model.tflite", signature)
    outcome = converter.convert(request)
    assert "restored" in outcome.notes[0]
    session = litert.load(Artifact(Variant.TFLITE, request.output, signature))
    assert signature.differences(session.signature) == []
    wanted = signature.inputs[0]
    for batch in (1, 2, 5):
        shape = wanted.concrete({}, batch)
        x = torch.randn(shape) if wanted.dtype == "float32" else torch.randint(0, 10, shape)
        with torch.no_grad():
            expected = torch.utils._pytree.tree_leaves(program(x))
        for mine, theirs in zip(expected, session.run({wanted.name: x.numpy()}).values(), strict=True):
            assert np.abs(mine.numpy()).max() > 0
            np.testing.assert_allclose(theirs, mine.numpy(), rtol=0, atol=1e-5 * float(mine.abs().max()))


def test_static_program_with_two_inputs_of_one_shape_keeps_their_order(tmp_path: Path) -> None:
    class Difference(nn.Module):
        def forward(self, left: torch.Tensor, unused: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return left - 2 * right

    inputs = tuple(torch.randn(2, 3) for _ in range(3))
    session, findings = converted(export(Difference(), inputs, [{}, {}, {}]), tmp_path)
    assert {f.verdict for f in findings} == {Verdict.LEGAL}
    assert_agrees(session, Difference(), inputs)


def test_rewritten_operators_are_reported(tmp_path: Path) -> None:
    program = export(Model(lambda x: x.mean(1)), (torch.randn(2, 5),), [{1: LENGTH}])
    _, findings = converted(program, tmp_path)
    assert [(f.operator, f.verdict) for f in findings] == [("aten.mean.dim", Verdict.REWRITTEN)]
    assert "run time" in findings[0].reason


def test_all_gaps_are_listed_with_their_places(tmp_path: Path) -> None:
    class Spectral(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.svd(x)[1] + torch.special.bessel_j0(x).sum()

    model = Model(lambda x, linear, spectral: spectral(linear(x)), nn.Linear(4, 4), Spectral())
    request = request_for(export(model, (torch.randn(6, 4),), [{}]), tmp_path)
    gaps = [f for f in converter.check(request) if f.verdict is Verdict.GAP]
    assert {f.operator for f in gaps} == {"aten.linalg_svd.default", "aten.special_bessel_j0.default"}
    for gap in gaps:
        assert "parts.1" in gap.where[0] and "test_pytorch_to_litert.py" in gap.where[0]
    with pytest.raises(ConversionError, match="cannot lower the program"):
        converter.convert(request)


def test_the_indices_of_a_pooling_count_in_the_whole_plane(tmp_path: Path) -> None:
    """litert-torch 0.9.4 writes indices that count within the window, without a word."""
    inputs = (torch.randn(1, 2, 8, 8),)
    with_indices = Model(lambda x: torch.cat([t.float() for t in nn.functional.max_pool2d(x, 3, 2, return_indices=True)]))
    session, findings = converted(export(with_indices, inputs, [{}]), tmp_path)
    (finding,) = [f for f in findings if f.verdict is Verdict.REWRITTEN]
    assert finding.operator == "aten.max_pool2d_with_indices.default" and "within the window" in finding.reason
    (found,) = session.run({session.signature.input_names[0]: inputs[0].numpy()}).values()
    np.testing.assert_allclose(found, with_indices(*inputs).numpy(), rtol=1e-6)


def test_an_infinite_mask_of_the_source_is_not_clamped(tmp_path: Path) -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x @ x.transpose(1, 2) + self.mask).softmax(-1)

    from convkit.loading.pytorch import exported_program

    request = request_for(export(Masked(), (torch.randn(2, 4, 3),), [B]), tmp_path)
    converter.convert(request)
    assert torch.isinf(exported_program(request.source).state_dict["mask"]).sum() == 6
    session = litert.load(Artifact(Variant.TFLITE, request.output, request.signature))
    assert_agrees(session, Masked(), (torch.randn(5, 4, 3),))


def test_pooling_a_dynamic_image_into_a_grid_is_refused(tmp_path: Path) -> None:
    model = Model(lambda x: F.adaptive_avg_pool2d(x, 2))
    request = request_for(export(model, (torch.randn(2, 3, 20, 20),), [{2: HEIGHT, 3: WIDTH}]), tmp_path)
    with pytest.raises(ConversionError, match="more than one cell") as refused:
        converter.convert(request)
    assert refused.value.hint and not request.output.exists()
