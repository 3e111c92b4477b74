"""Operators are written with torch's public functions, and mean the same.

The emitter itself runs what it wrote and compares all bits; here is looked at the text.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from tests.emitters.python_sources import operators_of, written

INF = float("inf")


def floats(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) + 0.1


def integers(*shape):
    return torch.arange(torch.Size(shape).numel()).reshape(shape) % 3


X = floats(2, 3, 4)
IMAGE = floats(2, 3, 8, 8)

CASES = {
    # Python's own operators
    "add": (lambda x: x + 2, (X,), "x + 2"),
    "subtract with a factor": (lambda x, y: torch.sub(x, y, alpha=2), (X, X), "torch.sub(x, y, alpha=2)"),
    "reverse subtract": (lambda x: 1.5 - x, (X,), "1.5 - x"),
    "negative number": (lambda x: x * -2.5, (X,), "x * -2.5"),
    "floor division": (lambda x: torch.div(x, 2, rounding_mode="floor"), (X,), 'torch.div(x, 2, rounding_mode="floor")'),
    "power": (lambda x: x**2, (X,), "x**2"),
    "power of a number": (lambda x: 2**x, (X,), "torch.pow(2, x)"),
    "matrix product": (lambda x, y: x @ y, (X, floats(4, 5)), "x @ y"),
    "remainder": (lambda x: x % 3, (integers(4),), "x % 3"),
    "comparison": (lambda x: x >= 0.5, (X,), "x >= 0.5"),
    "bits": (lambda x, y: x & ~y, (integers(4), integers(4)), "x & bitwise_not"),
    "negation": (lambda x: -x, (X,), "-x"),
    # torch
    "reduction": (lambda x: x.sum(1, keepdim=True), (X,), "torch.sum(x, dim=1, keepdim=True)"),
    "whole reduction": (lambda x: x.mean(), (X,), "torch.mean(x)"),
    "largest and where": (lambda x: x.max(1), (X,), "_0, "),
    "one of two results": (lambda x: x.topk(2, 1).values, (X,), ", _ = torch.topk(x, k=2, dim=1)"),
    "concatenation": (lambda x, y: torch.cat([x, y], 1), (X, X), "torch.cat([x, y], dim=1)"),
    "choice": (lambda x: torch.where(x > 0.5, x, -INF), (X,), 'torch.where(gt, x, float("-inf"))'),
    "choice of numbers": (lambda x: torch.where(x > 0.5, 1.0, x), (X,), "torch.where(gt, 1.0, x)"),
    "bounds": (lambda x: x.clamp(max=0.5), (X,), "torch.clamp(x, max=0.5)"),
    "gather": (lambda x, y: x.gather(1, y), (floats(2, 3), integers(2, 3)), "torch.gather(x, dim=1, index=y)"),
    "scatter": (
        lambda x, y: torch.scatter_add(x, 1, y, x),
        (floats(2, 3), integers(2, 3)),
        "torch.scatter_add(x, dim=1, index=y, src=x)",
    ),
    "norm": (lambda x: torch.linalg.vector_norm(x, 2, 1), (X,), "torch.linalg.vector_norm(x, dim=1)"),
    "special": (lambda x: torch.special.expm1(x), (X,), "torch.special.expm1(x)"),
    "einsum": (lambda x, y: torch.einsum("bij,bkj->bik", x, y), (X, X), 'torch.einsum("bij,bkj->bik", x, y)'),
    "split": (lambda x: x.split(2, 2), (X,), "output_0, output_1 = torch.split(x, 2, dim=2)"),
    "uneven split": (lambda x: x.split([1, 3], 2), (X,), "torch.split(x, [1, 3], dim=2)"),
    "variance": (lambda x: x.var(1, correction=0), (X,), "torch.var(x, dim=1, correction=0)"),
    "cumulative": (lambda x: x.cumsum(-1), (X,), "torch.cumsum(x, dim=-1)"),
    "roll": (lambda x: x.roll([1, 1], [0, 1]), (X,), "torch.roll(x, shifts=[1, 1], dims=[0, 1])"),
    "any": (lambda x: (x > 0.5).any(1), (X,), "torch.any(gt, dim=1)"),
    "index put": (
        lambda x, y: torch.index_put(x, (y,), torch.tensor(0.5)),
        (X, torch.tensor([1])),
        "torch.index_put(x, (y,), torch.tensor(0.5))",
    ),
    # methods
    "reshape": (lambda x: x.reshape(2, -1), (X,), "x.reshape(2, -1)"),
    "permute": (lambda x: x.permute(0, 2, 1), (X,), "x.permute(0, 2, 1)"),
    "transpose": (lambda x: x.transpose(1, 2), (X,), "x.transpose(1, 2)"),
    "unsqueeze": (lambda x: x.unsqueeze(-1), (X,), "x.unsqueeze(-1)"),
    "squeeze": (lambda x: x.squeeze(), (floats(1, 3),), "x.squeeze()"),
    "expand": (lambda x: x.expand(2, 5, 3), (floats(2, 1, 3),), "x.expand(2, 5, 3)"),
    "flatten": (lambda x: x.flatten(1), (X,), "x.flatten(1)"),
    "contiguous": (lambda x: x.transpose(0, 1).contiguous(), (X,), "transpose.contiguous()"),
    "channels last": (
        lambda x: x.contiguous(memory_format=torch.channels_last) + 1,
        (IMAGE,),
        "x.contiguous(memory_format=torch.channels_last)",
    ),
    "dtype": (lambda x: x.to(torch.float64), (X,), "x.to(torch.float64)"),
    "masked fill": (lambda x: x.masked_fill(x > 0.5, -INF), (X,), 'x.masked_fill(gt, float("-inf"))'),
    "nan": (lambda x: x.masked_fill(x > 0.5, float("nan")), (X,), 'x.masked_fill(gt, float("nan"))'),
    # subscripts
    "select": (lambda x: x[:, -1], (X,), "x[:, -1]"),
    "slice": (lambda x: x[:, 1:], (X,), "x[:, 1:]"),
    "slice from behind": (lambda x: torch.narrow(x, -1, 1, 2) + x[..., ::2], (X,), "x[:, :, ::2]"),
    "index": (lambda x, y: x[:, y], (X, torch.tensor([0, 2])), "x[:, y]"),
    "mask": (lambda x: x[:, torch.tensor([True, False, True])], (X,), "x[:, constant]"),
    # torch.nn.functional
    "convolution": (
        lambda x, y: F.conv2d(x, y, padding=1, dilation=2),
        (IMAGE, floats(4, 3, 3, 3)),
        "F.conv2d(x, y, padding=1, dilation=2)",
    ),
    "uneven padding": (lambda x, y: F.conv2d(x, y, padding=(1, 0)), (IMAGE, floats(4, 3, 3, 3)), "padding=[1, 0]"),
    "convolution by its kernel": (
        lambda x, y: torch.convolution(x, y, None, [2, 2], [0, 0], [1, 1], True, [1, 1], 1),
        (IMAGE, floats(3, 4, 3, 3)),
        "F.conv_transpose2d(x, y, stride=2, output_padding=1)",
    ),
    "linear": (lambda x, y, z: F.linear(x, y, z), (X, floats(5, 4), floats(5)), "F.linear(x, y, z)"),
    "relu": (lambda x: F.relu(x - 0.5), (X,), "F.relu(sub)"),
    "elu": (lambda x: F.elu(x, 0.5), (X,), "F.elu(x, alpha=0.5)"),
    "gelu": (lambda x: F.gelu(x, approximate="tanh"), (X,), 'F.gelu(x, approximate="tanh")'),
    "leaky relu": (lambda x: F.leaky_relu(x), (X,), "F.leaky_relu(x)"),
    "hard swish": (lambda x: F.hardswish(x), (X,), "F.hardswish(x)"),
    "softmax": (lambda x: x.softmax(-1), (X,), "F.softmax(x, dim=-1)"),
    "log softmax": (lambda x: F.log_softmax(x, 1, dtype=torch.float64), (X,), "F.log_softmax(x, dim=1, dtype=torch.float64)"),
    "pooling": (lambda x: F.max_pool2d(x, 2, 1, 1), (IMAGE,), "F.max_pool2d(x, 2, stride=1, padding=1)"),
    "pooling by its size": (lambda x: F.avg_pool2d(x, (2, 3)), (IMAGE,), "F.avg_pool2d(x, kernel_size=[2, 3])"),
    "global pooling": (lambda x: F.adaptive_avg_pool2d(x, 1), (IMAGE,), "F.adaptive_avg_pool2d(x, 1)"),
    "layer norm": (lambda x: F.layer_norm(x, [4], eps=1e-6), (X,), "F.layer_norm(x, [4], eps=1e-06)"),
    "group norm": (lambda x: F.group_norm(x, 3), (IMAGE,), "F.group_norm(x, 3)"),
    "batch norm": (
        lambda x, y: F.batch_norm(x, y, y, bias=y, momentum=0.2),
        (IMAGE, floats(3)),
        "F.batch_norm(x, y, y, bias=y, momentum=0.2)",
    ),
    "embedding": (
        lambda x, y: F.embedding(x, y, padding_idx=1),
        (integers(2, 3), floats(3, 5)),
        "F.embedding(x, y, padding_idx=1)",
    ),
    "dropout at rest": (lambda x: F.dropout(x, 0.2, training=False) + 1, (X,), "F.dropout(x, p=0.2, training=False)"),
    "zero padding": (lambda x: F.pad(x, (1, 2)), (X,), "F.pad(x, [1, 2])"),
    "reflection": (lambda x: F.pad(x, (1, 2), mode="reflect"), (X,), 'F.pad(x, [1, 2], mode="reflect")'),
    "attention": (
        lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True),
        (IMAGE,),
        "F.scaled_dot_product_attention(x, x, x, is_causal=True)",
    ),
    "resizing by a scale": (
        lambda x: F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True),
        (IMAGE,),
        'mode="bilinear"',
    ),
    "resizing to a size": (lambda x: F.interpolate(x, (5, 6)), (IMAGE,), 'F.interpolate(x, size=[5, 6], mode="nearest")'),
    "exact resizing": (lambda x: F.interpolate(x, (5, 6), mode="nearest-exact"), (IMAGE,), 'mode="nearest-exact"'),
    "sampling": (
        lambda x, y: F.grid_sample(x, y, padding_mode="border", align_corners=False),
        (IMAGE, floats(2, 5, 5, 2)),
        'F.grid_sample(x, y, padding_mode="border", align_corners=False)',
    ),
    # new tensors follow the input to its device
    "zeros": (lambda x: x + torch.zeros(3, 4), (X,), "torch.zeros([3, 4], device=x.device)"),
    "range": (lambda x: x + torch.arange(0, 8, 2), (X,), "torch.arange(0, 8, 2, device=x.device)"),
    "like": (lambda x: torch.ones_like(x, dtype=torch.int64), (X,), "torch.ones_like(x, dtype=torch.int64)"),
    "full": (lambda x: torch.full((2,), -INF) + x.sum(), (X,), 'torch.full([2], float("-inf"), device=x.device)'),
    # no public counterpart
    "raw": (lambda x: torch.ops.aten._softmax.default(x, 1, False), (X,), "torch.ops.aten._softmax.default(x, 1, False)"),
}


@pytest.mark.parametrize("name", CASES)
def test_an_operator_is_written_as_people_write_it(name, tmp_path):
    compute, inputs, text = CASES[name]
    found = written(compute, *inputs, tmp_path=tmp_path)
    assert text in found.forward
    assert "bit by bit" in found.note
    if name != "raw":
        assert "torch.ops" not in found.forward


def test_operators_in_place_stay_in_place(tmp_path):
    def compute(x):
        first = x[:, 0].clone()
        first.add_(1)
        return first.mul_(2), x

    forward = written(compute, X, tmp_path=tmp_path).forward
    assert ".add_(1)" in forward
    assert ".mul_(2)" in forward


def test_an_index_that_is_one_number_stays_an_index(tmp_path):
    """In brackets it would be taken for a number, which cannot be exported."""
    found = written(lambda x, y: torch.ops.aten.index.Tensor(x, [y]), X, torch.tensor(1), tmp_path=tmp_path)
    assert "torch.ops.aten.index.Tensor(x, [y])" in found.forward


def test_an_order_of_products_stays_that_order(tmp_path):
    """torch.einsum chooses one of its own for three factors."""
    factors = floats(2, 3), floats(3, 4), floats(4, 2)
    found = written(lambda x, y, z: torch.einsum("ij,jk,kl->il", x, y, z), *factors, tmp_path=tmp_path)
    assert "torch.ops.aten.einsum.default(" in found.forward


def test_random_numbers_are_drawn_in_the_same_order(tmp_path):
    found = written(lambda x: x + torch.rand(3, 4) * torch.randn(3, 4), X, tmp_path=tmp_path)
    assert "torch.rand([3, 4], device=x.device)" in found.forward


def test_what_is_written_is_exported_to_the_same_operators(tmp_path):
    """The counterparts are exact: not only the numbers, also the operators are the program's own."""

    def compute(x, y):
        x = F.relu(F.conv2d(x, y, padding=1))
        x = F.max_pool2d(F.group_norm(x, 2), 2)
        x = F.scaled_dot_product_attention(x, x, x).flatten(2).softmax(-1)
        return (x.transpose(1, 2) @ x).masked_fill(x.sum() > 1, -INF)[:, 1:]

    found = written(compute, IMAGE, floats(4, 3, 3, 3), tmp_path=tmp_path)
    again = torch.export.export(found.load(), (IMAGE, floats(4, 3, 3, 3)))
    assert operators_of(again) == [o for o in operators_of(found.program) if "slice" not in o or "0, 9223" not in o]
