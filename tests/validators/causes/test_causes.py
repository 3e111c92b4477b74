"""The catalogue of causes: each finds its own fault, and none finds one where another is."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession

from convkit.validators.causes import Case, explained
from convkit.validators.causes.operands import FUNCTIONS
from convkit.validators.causes.replaying import convolved
from convkit.validators.causes.values import as_bfloat16
from convkit.validators.causes.windows import _resized

RNG = np.random.default_rng(0)


def floats(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def code(operator: str, inputs, expected, got, whole: bool = True, **attributes) -> str:
    case = Case(operator, inputs, attributes, np.asarray(expected, np.float32), np.asarray(got, np.float32), whole)
    found = explained(case)
    return "" if found is None else found.code


X, Y = floats(4, 16), 5 * floats(4, 16)


@pytest.mark.parametrize(
    ("expected", "got", "wanted"),
    [
        (Y, np.trunc(Y), "truncation"),
        (Y, np.where(np.abs(Y) > 8, np.inf * np.sign(Y), Y), "half-overflow"),
        (Y, np.where(Y > 6, np.nan, Y), "nan"),
        (Y, np.clip(Y, -3, 4), "saturation"),
        (Y, Y.astype(np.float16), "half-precision"),
        (Y, as_bfloat16(Y), "bfloat16"),
        (Y, -Y, "sign"),
        (Y, Y * 1.7, "scale"),
        (Y, Y + 0.3, "offset"),
        (Y, np.roll(Y, 1, axis=1), "off-by-one"),
        (Y, Y[::-1] * floats(4, 16), ""),
        (Y, Y, ""),
    ],
)
def test_causes_in_the_values(expected, got, wanted):
    assert code("Mystery", [], expected, got) == wanted


def test_one_channel():
    got = Y.copy()
    got[:, 3] += floats(4)
    assert code("Gemm", [None, None], Y, got, whole=False) == "corrupted-weight"
    got = Y.copy()
    got[:, 3] *= 1.3
    assert code("Gemm", [None, None], Y, got, whole=False) == "channel-scale"


def test_a_missing_bias():
    x, w, b = floats(8, 6), floats(6, 5), floats(5)
    assert code("Gemm", [x, w, b], x @ w + b, x @ w) == "bias"


@pytest.mark.parametrize(
    ("operator", "function", "other"),
    [("Sub", np.subtract, "swapped-operands"), ("Div", np.divide, "swapped-operands"), ("Pow", lambda a, b: np.abs(a) ** b, "")],
)
def test_swapped_operands(operator, function, other):
    a, b = floats(4, 16), floats(4, 16)
    assert code(operator, [a, b], function(a, b), function(b, a)) == other


def test_a_lost_operator():
    assert code("Add", [X, Y], X + Y, X) == "dropped"
    assert code("Add", [X, Y], X + Y, X * Y) == "other-operator"
    assert code("Reshape", [X], X, X) == ""


@pytest.mark.parametrize(
    ("operator", "mine", "other", "wanted"),
    [
        ("Gelu", "gelu (erf)", "gelu (tanh)", "gelu-approximation"),
        ("Relu", "relu", "relu6", "other-function"),
        ("Sigmoid", "sigmoid", "hard sigmoid (slope 0.2)", "other-function"),
        ("HardSigmoid", "hard sigmoid (slope 1/6)", "hard sigmoid (slope 0.2)", "other-function"),
    ],
)
def test_another_function(operator, mine, other, wanted):
    x = 4 * floats(8, 16)
    assert code(operator, [x], FUNCTIONS[mine](x), FUNCTIONS[other](x)) == wanted


def test_softmax_over_another_axis():
    def softmax(x, axis):
        return np.exp(x) / np.exp(x).sum(axis, keepdims=True)

    assert code("Softmax", [X], softmax(X, 1), softmax(X, 0)) == "wrong-axis"


def test_parts_in_another_order():
    assert code("Concat", [X, Y], np.concatenate([X, Y], 1), np.concatenate([Y, X], 1)) == "swapped-operands"


def test_weights_of_a_product():
    w = floats(16, 16)
    assert code("MatMul", [X, w], X @ w, X @ w.T) == "transposed-weight"
    assert code("MatMul", [X, w], X @ w, X @ as_bfloat16(w)) == "bfloat16"
    assert code("aten.linear.default", [X, w], X @ w.T, X @ w) == "transposed-weight"


def test_weights_and_padding_of_a_convolution():
    x, w, b = floats(2, 4, 9, 9), floats(6, 4, 3, 3), floats(6)
    how = {"pads": [1, 1, 1, 1], "strides": [2, 2], "dilations": [1, 1], "group": 1}

    def conv(weight, pads=((1, 1), (1, 1))):
        return convolved(x, weight, (2, 2), (1, 1), pads) + b.reshape(1, -1, 1, 1)

    assert code("Conv", [x, w, b], conv(w), conv(w[:, :, ::-1, ::-1]), **how) == "flipped-kernel"
    assert code("Conv", [x, w, b], conv(w), conv(w.swapaxes(2, 3)), **how) == "transposed-weight"
    assert code("Conv", [x, w, b], conv(w), conv(w, ((0, 2), (0, 2))), **how) == "padding"
    torch_s = {"stride": [2, 2], "padding": [1, 1], "groups": 1}
    assert code("aten.conv2d.default", [x, w, b], conv(w), conv(w, ((0, 2), (0, 2))), **torch_s) == "padding"


def test_our_convolution_is_the_frameworks():
    import torch

    x, w = floats(2, 6, 10, 8), floats(9, 2, 3, 2)
    wanted = torch.nn.functional.conv2d(
        torch.tensor(x), torch.tensor(w), stride=(2, 1), padding=(1, 2), dilation=(2, 1), groups=3
    )
    got = convolved(x, w, (2, 1), (2, 1), ((1, 1), (2, 2)), 3)
    np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-4, atol=1e-5)


def test_another_epsilon():
    x, scale, shift = floats(4, 16) * 0.1, floats(16), floats(16)

    def norm(epsilon):
        centred = x - x.mean(1, keepdims=True)
        return centred / np.sqrt(x.var(1, keepdims=True) + epsilon) * scale + shift

    assert code("LayerNormalization", [x, scale, shift], norm(1e-5), norm(1e-3), epsilon=1e-5) == "epsilon"
    case = Case("LayerNormalization", [x, scale, shift], {"epsilon": 1e-5}, norm(1e-5), norm(1e-3))
    assert "about 1.0e-03, not 1e-05" in explained(case).text


def test_another_epsilon_of_a_batch_norm():
    x, scale, shift, mean, variance = floats(2, 3, 4, 4), floats(3), floats(3), floats(3), np.abs(floats(3)) * 0.01

    def norm(epsilon):
        spread = [a.reshape(1, 3, 1, 1) for a in (mean, variance, scale, shift)]
        return (x - spread[0]) / np.sqrt(spread[1] + epsilon) * spread[2] + spread[3]

    assert code("BatchNormalization", [x, scale, shift, mean, variance], norm(1e-5), norm(1e-3), epsilon=1e-5) == "epsilon"


def test_another_way_to_resize():
    x = floats(1, 2, 6, 6)
    ways = dict(_resized(x, (1, 2, 12, 12)))
    assert code("Resize", [x], ways["linear, half_pixel"], ways["linear, align_corners"]) == "resize-mode"
    assert code("Resize", [x], ways["nearest, asymmetric, floor"], ways["linear, half_pixel"]) == "resize-mode"


def test_other_pooling():
    import torch

    x = torch.tensor(floats(1, 3, 12, 12))
    highest, mean = torch.nn.functional.max_pool2d(x, 2), torch.nn.functional.avg_pool2d(x, 2)
    assert code("MaxPool", [x.numpy()], highest, mean) == "pooling"
    assert code("AveragePool", [x.numpy()], mean, highest) == "pooling"
    counted, not_counted = (torch.nn.functional.avg_pool2d(x, 3, 1, 1, count_include_pad=c) for c in (True, False))
    assert code("AveragePool", [x.numpy()], counted, not_counted) == "pooling"


def test_weights_behind_an_activation():
    """The target shows the output of a convolution only behind the relu that is fused with it."""
    x, w = floats(2, 4, 9, 9), floats(6, 4, 3, 3)
    how = {"pads": [1, 1, 1, 1], "strides": [1, 1], "dilations": [1, 1], "group": 1}

    def conv(weight):
        return convolved(x, weight, (1, 1), (1, 1), ((1, 1), (1, 1))).astype(np.float32)

    got = FUNCTIONS["relu"](conv(w[:, :, ::-1, ::-1])).astype(np.float32)
    found = explained(Case("Conv", [x, w], how, conv(w), got, then=FUNCTIONS["relu"]))
    assert found.code == "flipped-kernel" and found.specific
    got = FUNCTIONS["relu"](conv(w)).astype(np.float32)
    got[:, 2] *= 1.5
    assert explained(Case("Conv", [x, w], how, conv(w), got, then=FUNCTIONS["relu"])).code == "channel-scale"


def test_an_experiment_that_cannot_be_made_is_none():
    x, w = floats(2, 4, 9, 9), floats(6, 4, 3, 3)
    assert code("Conv", [x, w], floats(2, 6, 9, 9), floats(2, 6, 9, 9), pads=[1], strides="odd") == ""


def recurrent(operator: str, attributes: dict, *arrays: np.ndarray) -> tuple[np.ndarray, ...]:
    """What ONNX Runtime computes: all outputs of a LSTM or a GRU."""
    names = [f"i{k}" for k in range(len(arrays))]
    results = ["y", "h"]
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node(operator, names, results, **attributes)
    given = [value(n, onnx.TensorProto.FLOAT, a.shape) for n, a in zip(names, arrays, strict=True)]
    graph = onnx.helper.make_graph([node], "g", given, [value(n, onnx.TensorProto.FLOAT, None) for n in results])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    return tuple(InferenceSession(model.SerializeToString()).run(None, dict(zip(names, arrays, strict=True))))


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
@pytest.mark.parametrize("output", [0, 1])
@pytest.mark.parametrize(("direction", "both"), [("forward", 1), ("reverse", 1), ("bidirectional", 2)])
def test_gates_in_another_order(operator, output, direction, both):
    count, order = (4, [0, 2, 1, 3]) if operator == "LSTM" else (3, [1, 0, 2])
    x, inner, carried, bias = floats(5, 2, 3), floats(both, count * 4, 3), floats(both, count * 4, 4), floats(both, count * 8)
    attributes = {"hidden_size": 4, "direction": direction}

    def mixed(array: np.ndarray, parts: int = count) -> np.ndarray:
        blocks = np.split(array, parts, axis=1)
        chosen = order if parts == count else [*order, *(count + i for i in order)]
        return np.concatenate([blocks[i] for i in chosen], axis=1)

    expected = recurrent(operator, attributes, x, inner, carried, bias)[output]
    got = recurrent(operator, attributes, x, mixed(inner), mixed(carried), mixed(bias, 2 * count))[output]
    assert code(operator, [x, inner, carried, bias], expected, got, **attributes) == "gate-order"
    if operator == "GRU":
        got = recurrent(operator, {**attributes, "linear_before_reset": 1}, x, inner, carried, bias)[output]
        assert code(operator, [x, inner, carried, bias], expected, got, **attributes) == "reset-gate"


@pytest.mark.parametrize("layer", [torch.nn.LSTM, torch.nn.GRU])
@pytest.mark.parametrize(("first", "both"), [(True, False), (False, True)])
def test_gates_of_torch_s_layers(layer, first, both):
    torch.manual_seed(0)
    module = layer(3, 4, num_layers=2, batch_first=first, bidirectional=both)
    x = torch.randn(2, 5, 3)
    count = 2 * (2 if both else 1)
    states = [torch.zeros(count, x.shape[0 if first else 1], 4)] * (2 if layer is torch.nn.LSTM else 1)
    inputs = [x.numpy(), *(s.numpy() for s in states), *(p.detach().numpy().copy() for p in module.parameters())]
    with torch.no_grad():
        expected = module(x)[0].numpy()
        for parameter in module.parameters():
            parameter.copy_(torch.cat(parameter.split(4)[1::-1] + parameter.split(4)[2:]))
        got = module(x)[0].numpy()
    name = "aten.lstm.input" if layer is torch.nn.LSTM else "aten.gru.input"
    settings = {"has_biases": True, "num_layers": 2, "bidirectional": both, "batch_first": first}
    assert code(name, inputs, expected, got, **settings) == "gate-order"
