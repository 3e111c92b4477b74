"""Small ONNX models with fixed random weights, made without any exporter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from convkit.artifact import Artifact
from convkit.formats import Variant
from convkit.signature import Dim, Signature, TensorSpec

_rng = np.random.default_rng(0)


def weight(*shape: int) -> np.ndarray:
    return (_rng.standard_normal(shape) / np.sqrt(max(1, np.prod(shape[1:])))).astype(np.float32)


def model(
    nodes: Sequence[tuple],
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    weights: Mapping[str, np.ndarray] | None = None,
    opset: int = 17,
) -> onnx.ModelProto:
    """Nodes are (operator, inputs, outputs, attributes), inputs and outputs as one string of names."""
    graph = helper.make_graph(
        [
            helper.make_node(op, ins.split(), outs.split(), name=f"{op}_{k}", **(rest[0] if rest else {}))
            for k, (op, ins, outs, *rest) in enumerate(nodes)
        ],
        "graph",
        [_info(t) for t in inputs],
        [_info(t) for t in outputs],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def _info(spec: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(spec.name, helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)), spec.shape)


def tensor(name: str, *shape: Dim, dtype: str = "float32") -> TensorSpec:
    return TensorSpec(name, dtype, shape)


def save(proto: onnx.ModelProto, path: Path, **options) -> Artifact:
    onnx.save(proto, path, **options)
    return Artifact(Variant.ONNX, path, signature_of(proto))


def signature_of(proto: onnx.ModelProto) -> Signature:
    def spec(info: onnx.ValueInfoProto) -> TensorSpec:
        kind = info.type.tensor_type
        shape = tuple(d.dim_param or d.dim_value for d in kind.shape.dim)
        return TensorSpec(info.name, helper.tensor_dtype_to_np_dtype(kind.elem_type).name, shape)

    weights = {i.name for i in proto.graph.initializer}
    graph = proto.graph
    return Signature(tuple(spec(i) for i in graph.input if i.name not in weights), tuple(map(spec, graph.output)))


def cnn(batch: Dim = "batch") -> onnx.ModelProto:
    """Convolution, batch normalisation, pooling and a linear layer on NCHW images."""
    return model(
        [
            ("Conv", "image k b", "c", {"pads": [1, 1, 1, 1]}),
            ("BatchNormalization", "c scale shift mean var", "n"),
            ("Relu", "n", "r"),
            ("MaxPool", "r", "p", {"kernel_shape": [2, 2], "strides": [2, 2]}),
            ("Flatten", "p", "f"),
            ("Gemm", "f w v", "logits", {"transB": 1}),
        ],
        [tensor("image", batch, 3, 8, 8)],
        [tensor("logits", batch, 10)],
        {
            "k": weight(6, 3, 3, 3),
            "b": weight(6),
            "scale": weight(6) + 1,
            "shift": weight(6),
            "mean": weight(6),
            "var": abs(weight(6)) + 0.5,
            "w": weight(10, 96),
            "v": weight(10),
        },
    )


def square_image(batch: Dim = "batch") -> onnx.ModelProto:
    """An image of 8 channels of 8 × 8 in and out: nothing in its shape says which axis is which."""
    return model(
        [
            ("Conv", "image k", "c", {"pads": [1, 1, 1, 1]}),
            ("Relu", "c", "r"),
            ("ConvTranspose", "r t", "u", {"pads": [1, 1, 1, 1]}),
            ("Sigmoid", "u", "restored"),
        ],
        [tensor("image", batch, 8, 8, 8)],
        [tensor("restored", batch, 8, 8, 8)],
        {"k": weight(8, 8, 3, 3), "t": weight(8, 8, 3, 3)},
    )


def convolution_1d(batch: Dim = "batch") -> onnx.ModelProto:
    return model(
        [("Conv", "wave k", "out", {"pads": [1, 1]})],
        [tensor("wave", batch, 4, 4)],
        [tensor("out", batch, 4, 4)],
        {"k": weight(4, 4, 3)},
    )


def lstm(batch: Dim = "batch") -> onnx.ModelProto:
    return model(
        [
            ("Transpose", "seq", "t", {"perm": [1, 0, 2]}),
            ("LSTM", "t w r b", "y h c", {"hidden_size": 5}),
            ("Squeeze", "h zero", "last"),
            ("MatMul", "last p", "logits"),
        ],
        [tensor("seq", batch, 7, 4)],
        [tensor("logits", batch, 3)],
        {"w": weight(1, 20, 4), "r": weight(1, 20, 5), "b": weight(1, 40), "zero": np.array([0]), "p": weight(5, 3)},
    )


def gru(batch: Dim = "batch") -> onnx.ModelProto:
    """Both directions, the whole sequence and the last state."""
    return model(
        [
            ("Transpose", "seq", "t", {"perm": [1, 0, 2]}),
            ("GRU", "t w r b", "y h", {"hidden_size": 5, "direction": "bidirectional", "linear_before_reset": 1}),
            ("ReduceSum", "y steps", "s", {"keepdims": 0}),
            ("Add", "s h", "a"),
            ("Transpose", "a", "u", {"perm": [1, 0, 2]}),
            ("Flatten", "u", "logits"),
        ],
        [tensor("seq", batch, 7, 4)],
        [tensor("logits", batch, 10)],
        {"w": weight(2, 15, 4), "r": weight(2, 15, 5), "b": weight(2, 30), "steps": np.array([0])},
    )


def attention(batch: Dim = "batch") -> onnx.ModelProto:
    """Self-attention over [batch, 6, 32] with 4 heads."""
    nodes = []
    for part in "qkv":
        nodes += [
            ("MatMul", f"x w{part}", f"{part}0"),
            ("Reshape", f"{part}0 heads", f"{part}1"),
            ("Transpose", f"{part}1", part, {"perm": [0, 2, 3, 1] if part == "k" else [0, 2, 1, 3]}),
        ]
    nodes += [
        ("MatMul", "q k", "s"),
        ("Softmax", "s", "p"),
        ("MatMul", "p v", "o"),
        ("Transpose", "o", "o1", {"perm": [0, 2, 1, 3]}),
        ("Reshape", "o1 flat", "o2"),
        ("Add", "o2 x", "y"),
    ]
    weights = {f"w{p}": weight(32, 32) for p in "qkv"}
    return model(
        nodes,
        [tensor("x", batch, 6, 32)],
        [tensor("y", batch, 6, 32)],
        {**weights, "heads": np.array([0, 0, 4, 8]), "flat": np.array([0, 0, 32])},
    )


def two_inputs(batch: Dim = "batch") -> onnx.ModelProto:
    """Two inputs of one shape, not in alphabetical order, that must not be swapped; two outputs likewise."""
    return model(
        [("MatMul", "right w", "m"), ("Sub", "m left", "second"), ("Mul", "left three", "first")],
        [tensor("right", batch, 6), tensor("left", batch, 6)],
        [tensor("second", batch, 6), tensor("first", batch, 6)],
        {"w": weight(6, 6), "three": np.float32(3)},
    )


def tokens(batch: Dim = "batch") -> onnx.ModelProto:
    """int64 in, int64 out."""
    return model(
        [
            ("Gather", "table ids", "e"),
            ("ReduceMean", "e", "mean", {"axes": [1], "keepdims": 0}),
            ("ArgMax", "mean", "best", {"axis": -1, "keepdims": 0}),
        ],
        [tensor("ids", batch, 5, dtype="int64")],
        [tensor("mean", batch, 8), tensor("best", batch, dtype="int64")],
        {"table": weight(20, 8)},
    )


def scalar() -> onnx.ModelProto:
    """A scalar in, a scalar out."""
    return model(
        [("Mul", "x factor", "m"), ("ReduceMean", "m", "loss", {"keepdims": 0})],
        [tensor("x", 3, 4), tensor("factor")],
        [tensor("loss")],
    )


def half() -> onnx.ModelProto:
    return model(
        [("MatMul", "x w", "m"), ("Relu", "m", "y")],
        [tensor("x", 2, 4, dtype="float16")],
        [tensor("y", 2, 3, dtype="float16")],
        {"w": weight(4, 3).astype(np.float16)},
    )


def old() -> onnx.ModelProto:
    """Opset 8 with its weights among the inputs, as IR version 3 wants it."""
    proto = model(
        [("Conv", "x k", "c"), ("Upsample", "c scales", "u", {"mode": "nearest"}), ("Relu", "u", "y")],
        [tensor("x", 1, 2, 4, 4)],
        [tensor("y", 1, 3, 4, 4)],
        {"k": weight(3, 2, 3, 3), "scales": np.array([1, 1, 2, 2], np.float32)},
        opset=9,
    )
    proto.ir_version = 3
    proto.graph.input.append(helper.make_tensor_value_info("k", TensorProto.FLOAT, [3, 2, 3, 3]))
    proto.graph.input.append(helper.make_tensor_value_info("scales", TensorProto.FLOAT, [4]))
    return proto


def newest(batch: Dim = "batch") -> onnx.ModelProto:
    """An operator that onnx2tf does not know, and that the standard defines by others."""
    proto = model(
        [("RMSNormalization", "x w", "n"), ("Relu", "n", "y")],
        [tensor("x", batch, 4, 6)],
        [tensor("y", batch, 4, 6)],
        {"w": weight(6)},
        opset=23,
    )
    proto.ir_version = 10
    return proto


def narrow_integers(batch: Dim = "batch") -> onnx.ModelProto:
    """uint8 arithmetic that wraps around, and an int8 comparison."""
    return model(
        [("Add", "a a", "b"), ("Cast", "b", "c", {"to": 3}), ("GreaterOrEqual", "c zero", "d")],
        [tensor("a", batch, 3, dtype="uint8")],
        [tensor("b", batch, 3, dtype="uint8"), tensor("d", batch, 3, dtype="bool")],
        {"zero": np.int8(0)},
    )


def branch() -> onnx.ModelProto:
    """An If that no constant decides."""
    then = helper.make_graph([helper.make_node("Exp", ["x"], ["t"])], "then", [], [_info(tensor("t", 3))])
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["e"])], "else", [], [_info(tensor("e", 3))])
    return model(
        [
            ("ReduceSum", "x", "s", {"keepdims": 0}),
            ("Greater", "s zero", "c"),
            ("If", "c", "y", {"then_branch": then, "else_branch": other}),
        ],
        [tensor("x", 3)],
        [tensor("y", 3)],
        {"zero": np.float32(0)},
    )


def feeds_for(signature: Signature, size: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    feeds = {}
    for spec in signature.inputs:
        shape = spec.concrete({}, size)
        values = (
            rng.integers(0, 250 if spec.dtype == "uint8" else 5, shape) if "int" in spec.dtype else rng.standard_normal(shape)
        )
        feeds[spec.name] = np.asarray(values, spec.dtype)
    return feeds
